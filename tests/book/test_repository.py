"""The repository's own rules: what a notebook must hold, and what no file may."""

import ast
import json
import os
import re
import subprocess
import sys

import nbformat
import picture
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from repo import ROOT, notebooks, toc_pages

from dgm_helpers.notebook.plotting import PALETTE

MAX_LINES, MAX_WIDTH, MAX_BYTES = 25, 88, 1_500_000
SET_UP_LINES, WORDS_PER_LINE = 8, 3
CHECK = "# NBVAL_CHECK_OUTPUT"
RAW_MYST = re.compile(r"^\s*(?:`{3,}|:{3,})\{|^:{3,}\s*$|\{[a-z]+(?::[a-z]+)?\}`|^\([\w-]+\)=\s*$", re.MULTILINE)
TRAIN = re.compile(r"(?m)^TRAIN = False  # True: train here, about \S.* on two cores, \S.* on a GPU$")
PLUMBING = {  # what Run, Estimate and table do
    "def train(": r"\bdef train\(",
    "a fingerprint": r"fingerprint",
    "fit_or_load": r"fit_or_load",
    "a hand-written ±": r"\}\s*±|±\s*\{",
}
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:(?:work|root|home/[a-z]\w*|Users/\w+)/|tmp/[a-z])")
NOTEBOOKS = notebooks()


# ---- rules of a notebook: each takes one and returns what is wrong with it ----


def code_cells(notebook):
    return [(i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]


def unexecuted(notebook):
    """Every code cell was executed."""
    return [f"cell {i} was not executed" for i, c in code_cells(notebook) if c.execution_count is None]


def stored_errors(notebook):
    """No error and no stderr is stored: warnings and progress bars differ from run to run."""
    outputs = [(i, o) for i, c in code_cells(notebook) for o in c.outputs]
    errors = [f"cell {i} stores an error: {o.ename}" for i, o in outputs if o.output_type == "error"]
    return errors + [f"cell {i} stores stderr: {o.text[:60]}" for i, o in outputs if o.get("name") == "stderr"]


def unchecked(notebook):
    """There is a check cell, and each has a stored output: nbval passes an empty one without a word."""
    checks = [(i, c) for i, c in code_cells(notebook) if CHECK in c.source]
    if not checks:
        return [f"no cell has {CHECK}"]
    return [f"check cell {i} has no stored output" for i, c in checks if not c.outputs]


def compared_numbers(notebook):
    """A check cell prints text only: glued numbers differ in their last digit from processor to processor."""
    kinds = [(i, o.output_type) for i, c in code_cells(notebook) if CHECK in c.source for o in c.outputs]
    return [f"check cell {i} stores a {kind}, which would be compared" for i, kind in kinds if kind != "stream"]


def long_cells(notebook):
    """A code cell fits on a screen, the first, which every notebook begins with, into a few lines."""
    most = [SET_UP_LINES] + [MAX_LINES] * len(notebook.cells)
    lines = [(i, len(c.source.splitlines()), m) for (i, c), m in zip(code_cells(notebook), most, strict=False)]
    return [f"cell {i} has {n} lines, more than {m}" for i, n, m in lines if n > m]


def wide_lines(notebook):
    """A line of code fits beside the table of contents."""
    lines = [(i, line) for i, c in code_cells(notebook) for line in c.source.splitlines()]
    return [f"cell {i} has a line of {len(x)} characters: {x[:60]}" for i, x in lines if len(x) > MAX_WIDTH]


def run_functions():
    """Names of the functions that define the book's trainings, in the ``runs`` modules."""
    trees = [ast.parse(path.read_text(encoding="utf8")) for path in (ROOT / "dgm_helpers").glob("*/runs.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def without_settings(notebook):
    """After the set-up, and imports that may have a cell of their own, come the constants, and the switch for training
    where a stored training is loaded."""
    cells = [c.source for _, c in code_cells(notebook)]
    imports_only = cells[1:2] and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(cells[1]).body)
    settings, code = "".join(cells[2:3] if imports_only else cells[1:2]), "\n".join(cells)
    problems = [] if re.search(r"(?m)^[A-Z][A-Z_0-9]*\b.* = ", settings) else ["the settings cell has no settings"]
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    ours = {a.name for node in imports if node.module.startswith("dgm_helpers") for a in node.names}
    if ours & (run_functions() | {"Run"}) and not (TRAIN.search(settings) and "train=TRAIN" in code):
        problems.append("it loads a stored training: the settings lack the line TRAIN = False  # True: train here, ...")
    return problems


def few_words(notebook):
    """Prose leads: words outside of displayed formulas, for each line of code that the site does not fold."""
    texts = [re.sub(r"(?s)\$\$.*?\$\$", "", c.source) for c in notebook.cells if c.cell_type == "markdown"]
    shown = [c.source for _, c in code_cells(notebook) if "hide-input" not in c.metadata.get("tags", [])]
    words, lines = sum(len(t.split()) for t in texts), sum(bool(x.strip()) for c in shown for x in c.splitlines())
    return [f"{words} words for {lines} lines of visible code"] if words < WORDS_PER_LINE * lines else []


def plumbing(notebook):
    """No cell does by hand what the package does for all."""
    cells = code_cells(notebook)
    return [f"cell {i} holds {what}" for i, c in cells for what, mark in PLUMBING.items() if re.search(mark, c.source)]


def raw_directives(notebook):
    """Directives and roles are for book/: JupyterLab, GitHub and Colab show them raw."""
    texts = [(i, c.source) for i, c in enumerate(notebook.cells) if c.cell_type == "markdown"]
    return [f"cell {i} has MyST syntax: {m.group().strip()}" for i, text in texts for m in RAW_MYST.finditer(text)]


def undescribed_figures(notebook):
    """A cell that stores an image gives it a name, a caption and an alt text, in its metadata."""
    problems = []
    for i, cell in code_cells(notebook):
        if any(kind.startswith("image/") for o in cell.outputs for kind in o.get("data", {})):
            mystnb = cell.metadata.get("mystnb", {})
            figure, image = mystnb.get("figure", {}), mystnb.get("image", {})
            values = {"figure name": figure.get("name"), "caption": figure.get("caption"), "alt text": image.get("alt")}
            problems += [f"cell {i} stores an image without {what}" for what, value in values.items() if not value]
    return problems


def widgets(notebook):
    """No output needs a script from elsewhere: widgets (``tqdm.auto`` too) and anything that loads over the network."""
    outputs = [(i, o) for i, c in code_cells(notebook) for o in c.outputs]
    found = [f"cell {i} stores a widget" for i, o in outputs if any("widget" in kind for kind in o.get("data", {}))]
    html = [(i, "".join(o.get("data", {}).get("text/html", ""))) for i, o in outputs]
    return found + [f"cell {i} loads from the network" for i, text in html if re.search(r"src=.?https?:", text)]


RULES = [
    unexecuted,
    stored_errors,
    unchecked,
    compared_numbers,
    long_cells,
    wide_lines,
    without_settings,
    few_words,
    plumbing,
    raw_directives,
    undescribed_figures,
    widgets,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_rule(path, rule):
    assert rule(nbformat.read(path, as_version=4)) == []


def good_notebook():
    stream = new_output("stream", name="stdout", text="✓ one is one\n")
    image = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    described = {"figure": {"name": "fig-x", "caption": "What to see."}, "image": {"alt": "A line."}}
    switch = "TRAIN = False  # True: train here, about 3 min on two cores, 5 s on a GPU"
    use, words = "plot(run.load(train=TRAIN), '±')", " word" * 20
    return new_notebook(cells=[
        new_markdown_cell(f"# Title\n\nWith $x_{{n}}$, `code`, a [link](x.md) and\n\n```python\n{{1: 2}}\n```{words}"),
        new_code_cell(f"{CHECK}\ncheck('one is one', 1 == 1)", execution_count=1, outputs=[stream]),
        new_code_cell(f"from dgm_helpers.training import Run\n{switch}", execution_count=2),
        new_code_cell(use, execution_count=3, outputs=[image], metadata={"mystnb": described}),
        new_code_cell(""),
    ])  # fmt: skip


def test_rules_accept_a_good_notebook():
    assert [problem for rule in RULES for problem in rule(good_notebook())] == []


BREAKS = {
    "unexecuted": (unexecuted, lambda nb: nb.cells[1].update(execution_count=None)),
    "error": (stored_errors, lambda nb: nb.cells[1].outputs.append(new_output("error", ename="ValueError"))),
    "stderr": (stored_errors, lambda nb: nb.cells[1].outputs.append(new_output("stream", name="stderr", text="50%|"))),
    "no check": (unchecked, lambda nb: nb.cells[1].update(source="1")),
    "empty check": (unchecked, lambda nb: nb.cells[1].update(outputs=[])),
    "glued": (
        compared_numbers,
        lambda nb: nb.cells[1].outputs.append(new_output("display_data", data={"text/plain": "0.12"})),
    ),
    "long": (long_cells, lambda nb: nb.cells[2].update(source="x\n" * (MAX_LINES + 1))),
    "long set-up": (long_cells, lambda nb: nb.cells[1].update(source="x\n" * (SET_UP_LINES + 1))),
    "wide": (wide_lines, lambda nb: nb.cells[2].update(source="x" * (MAX_WIDTH + 1))),
    "no settings": (without_settings, lambda nb: nb.cells[2].update(source="x = 1")),
    "no switch": (
        without_settings,
        lambda nb: nb.cells[2].update(source=f"{nb.cells[2].source.splitlines()[0]}\nN = 1"),
    ),
    "no times": (without_settings, lambda nb: nb.cells[2].update(source=nb.cells[2].source.split("  #")[0])),
    "dead switch": (without_settings, lambda nb: nb.cells[3].update(source="plot(run.load())")),
    "shared run": (
        without_settings,
        lambda nb: nb.cells[2].update(source="from dgm_helpers.vae import svi_base\nN = 1"),
    ),
    "few words": (
        few_words,
        lambda nb: nb.cells[0].update(source="Two words. $$a + b\n= c + d + e + f + g + h + i + j$$"),
    ),
    "much code": (few_words, lambda nb: nb.cells[3].update(source="x\n" * 9)),
    "train": (plumbing, lambda nb: nb.cells[3].update(source="def train(model):\n    pass")),
    "fingerprint": (plumbing, lambda nb: nb.cells[3].update(source="fingerprint = {}")),
    "old loading": (plumbing, lambda nb: nb.cells[3].update(source="fit_or_load('x')")),
    "plus minus": (plumbing, lambda nb: nb.cells[3].update(source="print(f'{mean:.2f} ± {error:.2f}')")),
    "role": (raw_directives, lambda nb: nb.cells[0].update(source="See {prf:ref}`thm-x`.")),
    "glue": (raw_directives, lambda nb: nb.cells[0].update(source="It is {glue}`x`.")),
    "fence": (raw_directives, lambda nb: nb.cells[0].update(source="```{note}\nx\n```")),
    "colons": (raw_directives, lambda nb: nb.cells[0].update(source=":::{prf:proof}\nx\n:::")),
    "label": (raw_directives, lambda nb: nb.cells[0].update(source="(b4-3)=\n# Training")),
    "no caption": (undescribed_figures, lambda nb: nb.cells[3].metadata.mystnb.figure.pop("caption")),
    "no name": (undescribed_figures, lambda nb: nb.cells[3].metadata.mystnb.figure.pop("name")),
    "no alt": (undescribed_figures, lambda nb: nb.cells[3].metadata.mystnb.pop("image")),
    "widget": (
        widgets,
        lambda nb: nb.cells[3].outputs[0].data.update({"application/vnd.jupyter.widget-view+json": {}}),
    ),
    "script": (
        widgets,
        lambda nb: nb.cells[3].outputs[0].data.update({"text/html": '<script src="https://x.y/z.js">'}),
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_rules_report_a_broken_notebook(name):
    rule, damage = BREAKS[name]
    notebook = good_notebook()
    damage(notebook)
    assert rule(notebook) != []


# ---- rules of the repository ----


def test_there_are_notebooks():
    assert NOTEBOOKS != []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_listed_and_light(path):
    assert str(path.relative_to(ROOT).with_suffix("")) in toc_pages()
    assert path.stat().st_size <= MAX_BYTES


def test_every_listed_page_exists():
    missing = [
        page for page in toc_pages() if not any((ROOT / f"{page}{kind}").is_file() for kind in (".md", ".ipynb"))
    ]
    assert missing == []


def test_site_has_the_palette_of_the_figures():
    css = (ROOT / "book" / "_static" / "dgm.css").read_text()
    root = re.search(r":root \{(.*?)\}", css, re.DOTALL).group(1)
    assert dict(re.findall(r"--dgm-(\w+): (#[0-9a-f]{6});", root)) == PALETTE


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


WANTED = {
    "requirements.txt": ("requirements.in", "requirements-site.in"),
    "requirements-site.txt": ("requirements-site.in",),
}


@pytest.mark.parametrize("lock", WANTED)
def test_requirements_are_exact_complete_and_without_addresses(lock):
    text = (ROOT / lock).read_text()
    assert re.findall(r"(?m)^.*(?:://|--(?:extra-)?index|--find-links| @ ).*$", text) == []
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--hash"))]
    assert [line for line in lines if not re.match(r"[\w.\[\]-]+==[\w.!+]+", line)] == []
    pinned = {canonical(name): version for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[.*?\])?==([\w.!+]+)", text)}
    sources = "".join((ROOT / name).read_text() for name in WANTED[lock])
    wanted = re.findall(r"(?m)^(\w[\w.-]*)(?:==([\w.!+]+))?", sources)
    assert [(n, v) for n, v in wanted if canonical(n) not in pinned or (v and pinned[canonical(n)] != v)] == []


def test_every_anchor_of_the_assignments_exists():
    linked = re.findall(r"\]\(#([\w-]+)\)", (ROOT / "book" / "assignments.md").read_text())
    homes = [
        a for page in (ROOT / "book").rglob("*.md") for a in re.findall(r"(?m)^\(([\w-]+)\)=\s*$", page.read_text())
    ]
    assert linked
    assert [anchor for anchor in linked if homes.count(anchor) != 1] == []


def included(page):
    """Every (file, object) that a page shows by ``literalinclude``; object None for a whole file."""
    for block in re.finditer(r"\{literalinclude\} (\S+)\n((?::[\w-]+:.*\n)*)", page.read_text(encoding="utf8")):
        shown = re.search(r":pyobject: (\S+)", block[2])
        yield (page.parent / block[1]).resolve(), shown and shown[1]


def objects(source):
    """Names of a module's functions and classes, and Class.method."""
    definitions = (ast.FunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(source).body if isinstance(node, definitions)]
    inner = [(c, n) for c in top if isinstance(c, ast.ClassDef) for n in c.body if isinstance(n, definitions)]
    return {node.name for node in top} | {f"{c.name}.{n.name}" for c, n in inner}


def test_every_piece_of_code_that_a_page_shows_is_there():
    shown = [(page, *what) for page in (ROOT / "book").rglob("*.md") for what in included(page)]
    assert shown
    assert [(page.name, path) for page, path, _ in shown if not path.is_file()] == []
    missing = [f"{p.name}: {path.name} {o}" for p, path, o in shown if o and o not in objects(path.read_text())]
    assert missing == []


def test_pieces_of_code_are_found(tmp_path):
    (tmp_path / "x.md").write_text(
        ":::{literalinclude} a.py\n:language: python\n:pyobject: C.f\n:::\n```{literalinclude} b\n```\n"
    )
    assert list(included(tmp_path / "x.md")) == [(tmp_path / "a.py", "C.f"), (tmp_path / "b", None)]
    assert objects("def g(): pass\nclass C:\n    def f(self): pass\nx = 1") == {"g", "C", "C.f"}


def package_hosts():
    """Hosts of the package index that this machine is set up to use, if it was told of one."""
    set_up = [
        value for name, value in os.environ.items() if re.fullmatch(r"(PIP|UV)_.*INDEX.*|.*config_registry", name, re.I)
    ]
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    hosts = re.findall(r"https?://(?:[^/@\s]*@)?([\w.-]+)", " ".join([*set_up, asked.stdout]))
    return set(hosts) - {"localhost", "127.0.0.1"}


def machine_traces(text, hosts=frozenset()):
    """Paths of one machine, and hosts of its package index, in a file's text (stored images left out)."""
    text = re.sub(r'"image/\w+": "[^"]*"', "", text)
    return [m.group() for m in MACHINE_PATH.finditer(text)] + [host for host in sorted(hosts) if host in text]


def test_no_file_speaks_of_a_machine():
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    hosts, found = package_hosts(), {}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".safetensors", ".png"}:
            traces = machine_traces(path.read_text(errors="ignore"), hosts)
            found |= {name: traces} if traces else {}
    assert found == {}


@pytest.mark.parametrize("place", ["work/x", "root/.cache", "home/ann/x", "Users/ann/x", "tmp/abc"])
def test_traces_are_found(place):
    assert machine_traces(json.dumps({"text": f"File /{place}"})) != []
    assert machine_traces("http://host.example/simple", {"host.example"}) == ["host.example"]
    assert machine_traces(f"see docs/{place}") == []  # a relative path is nobody's machine


def test_the_readme_shows_the_stored_figure():
    """Its picture, with an alternative text, is the one in the notebook that it links to."""
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert [path for _, path in shown] == [picture.PICTURE.relative_to(ROOT).as_posix()]
    assert (ROOT / shown[0][1]).read_bytes() == picture.picture()


def test_the_readme_lists_every_page():
    linked = re.findall(r"\]\((book/[\w/]+\.md)\)", (ROOT / "README.md").read_text())
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / "book").glob("*/*.md")]
    pages = [page for page in pages if not page.startswith("book/reference/") or page.endswith("/index.md")]
    assert pages
    assert [page for page in pages if linked.count(page) != 1] == []
