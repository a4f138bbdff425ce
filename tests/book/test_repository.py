"""The repository's own rules: what a notebook must hold, and what no file may."""

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

MAX_LINES, MAX_BYTES = 45, 1_500_000
CHECK = "# NBVAL_CHECK_OUTPUT"
RAW_MYST = re.compile(r"^\s*(?:`{3,}|:{3,})\{|^:{3,}\s*$|\{[a-z]+(?::[a-z]+)?\}`|^\([\w-]+\)=\s*$", re.MULTILINE)
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
    """A code cell fits on a screen."""
    lines = [(i, len(c.source.splitlines())) for i, c in code_cells(notebook)]
    return [f"cell {i} has {n} lines, more than {MAX_LINES}" for i, n in lines if n > MAX_LINES]


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
    return new_notebook(cells=[
        new_markdown_cell("# Title\n\nWith $x_{n}$, `code`, a [link](x.md) and\n\n```python\n{1: 2}\n```"),
        new_code_cell(f"{CHECK}\ncheck('one is one', 1 == 1)", execution_count=1, outputs=[stream]),
        new_code_cell("plot()", execution_count=2, outputs=[image], metadata={"mystnb": described}),
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
    "role": (raw_directives, lambda nb: nb.cells[0].update(source="See {prf:ref}`thm-x`.")),
    "glue": (raw_directives, lambda nb: nb.cells[0].update(source="It is {glue}`x`.")),
    "fence": (raw_directives, lambda nb: nb.cells[0].update(source="```{note}\nx\n```")),
    "colons": (raw_directives, lambda nb: nb.cells[0].update(source=":::{prf:proof}\nx\n:::")),
    "label": (raw_directives, lambda nb: nb.cells[0].update(source="(b4-3)=\n# Training")),
    "no caption": (undescribed_figures, lambda nb: nb.cells[2].metadata.mystnb.figure.pop("caption")),
    "no name": (undescribed_figures, lambda nb: nb.cells[2].metadata.mystnb.figure.pop("name")),
    "no alt": (undescribed_figures, lambda nb: nb.cells[2].metadata.mystnb.pop("image")),
    "widget": (
        widgets,
        lambda nb: nb.cells[2].outputs[0].data.update({"application/vnd.jupyter.widget-view+json": {}}),
    ),
    "script": (
        widgets,
        lambda nb: nb.cells[2].outputs[0].data.update({"text/html": '<script src="https://x.y/z.js">'}),
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


def test_requirements_are_exact_complete_and_without_addresses():
    text = (ROOT / "requirements.txt").read_text()
    assert re.findall(r"(?m)^.*(?:://|--(?:extra-)?index|--find-links| @ ).*$", text) == []
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--hash"))]
    assert [line for line in lines if not re.match(r"[\w.\[\]-]+==[\w.!+]+", line)] == []
    pinned = {canonical(name): version for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[.*?\])?==([\w.!+]+)", text)}
    wanted = re.findall(r"(?m)^([\w.-]+)(?:==([\w.!+]+))?", (ROOT / "requirements.in").read_text())
    assert [(n, v) for n, v in wanted if canonical(n) not in pinned or (v and pinned[canonical(n)] != v)] == []


def test_every_anchor_of_the_assignments_exists():
    linked = re.findall(r"\]\(#([\w-]+)\)", (ROOT / "book" / "assignments.md").read_text())
    homes = [
        a for page in (ROOT / "book").rglob("*.md") for a in re.findall(r"(?m)^\(([\w-]+)\)=\s*$", page.read_text())
    ]
    assert linked
    assert [anchor for anchor in linked if homes.count(anchor) != 1] == []


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
    assert pages
    assert [page for page in pages if linked.count(page) != 1] == []
