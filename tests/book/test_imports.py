"""Who may import whom: imports point down, packages on one floor leave each other alone, and each lists its names."""

import ast
import importlib

import nbformat
import pytest
from repo import ROOT, notebooks

PACKAGE = "dgm_helpers"
LOWER = {"probability", "data", "training", "notebook"}
UPPER = {"autoregressive", "flows", "mcmc", "latent", "vae"}
SHOWS = ("notebooks/", "tests/notebook/", "tests/book/", "tools/")  # what may import the notebooks' package


def all_imports(source):
    """What a module imports, in functions too: ("dgm_helpers.vae.model", "VAE"), or with None for a whole module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(module, alias.name) for alias in node.names]
    return found


def imported(source):
    """Those of ours."""
    return [(module, name) for module, name in all_imports(source) if module.split(".")[0] in (PACKAGE, "")]


def exists(module):
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


# ---- rules: each takes a file's path in the repository and its text, and returns what is wrong ----


def unknown_modules(where, source):
    """What is imported is there, under its full name: no old flat module, no relative import."""
    names = [module for module, _ in imported(source)]
    names += [f"{module}.{name}" for module, name in imported(source) if module == PACKAGE and name]
    return [f"{where}: there is no module {name}" for name in names if not exists(name)]


def imports_sideways_or_up(where, source):
    """A chapter imports from the lower floor, all may import ``arguments``; packages import nothing else of ours."""
    if not where.startswith(f"{PACKAGE}/"):
        return []
    own = where.split("/")[1].removesuffix(".py")
    problems = []
    for module, name in imported(source):
        other = [*module.split("."), name, None][1]
        down = other == "arguments" or (own in UPPER and other in LOWER - {"notebook"})
        if other != own and not down:
            problems.append(f"{where}: {own} imports {other}")
    return problems


def imports_notebook(where, source):
    """Notebooks alone import what they show things with (and its tests, and tools)."""
    asked = [".".join([module, name or ""]) for module, name in imported(source)]
    used = [name for name in asked if name.startswith(f"{PACKAGE}.notebook")]
    return [] if where.startswith((*SHOWS, f"{PACKAGE}/notebook/")) else [f"{where}: imports {name}" for name in used]


def imports_browser(where, source):
    """Only the tests of the built site need a browser."""
    used = {module.split(".")[0] for module, _ in all_imports(source)} & {"playwright", "axe_playwright_python", "axe"}
    return [] if where.startswith("tests/site/") else [f"{where}: imports {name}" for name in sorted(used)]


def unlisted_names(where, source):
    """An ``__init__`` says in one line what its package is, and lists every public name that it imports."""
    if not where.endswith("__init__.py") or where == f"{PACKAGE}/__init__.py":
        return []
    tree = ast.parse(source)
    lists = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"]
    listed = set(ast.literal_eval(lists[0])) if lists else set()
    bound = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    public = {name for name in bound if not name.startswith("_")}
    problems = [f"{where}: __all__ lacks {name}" for name in sorted(public - listed)]
    problems += [f"{where}: __all__ has {name}, which is not imported" for name in sorted(listed - bound)]
    if len((ast.get_docstring(tree) or "").splitlines()) != 1:
        problems.append(f"{where}: expected a docstring of one line")
    return problems


RULES = [unknown_modules, imports_sideways_or_up, imports_notebook, imports_browser, unlisted_names]


def sources():
    """Path in the repository and text of every module, and of every notebook's code."""
    for folder in (PACKAGE, "tests", "tools", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf8")
    for path in notebooks():
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        yield path.relative_to(ROOT).as_posix(), code


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule):
    assert [problem for where, source in sources() for problem in rule(where, source)] == []


def test_every_package_stands_on_a_floor():
    assert {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")} == LOWER | UPPER
    assert {path.name for path in (ROOT / PACKAGE).glob("*.py")} == {"__init__.py", "arguments.py"}


@pytest.mark.parametrize("package", sorted(LOWER | UPPER))
def test_every_listed_name_exists(package):
    module = importlib.import_module(f"{PACKAGE}.{package}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


BROKEN = {
    "old name": (unknown_modules, "notebooks/vae/x.ipynb", "from dgm_helpers.densities import log_normal"),
    "old name, from the root": (unknown_modules, "tools/x.py", "from dgm_helpers import weights"),
    "relative": (unknown_modules, "dgm_helpers/vae/x.py", "from .model import VAE"),
    "chapter to chapter": (imports_sideways_or_up, "dgm_helpers/vae/x.py", "from dgm_helpers.flows import Flow"),
    "from the root": (imports_sideways_or_up, "dgm_helpers/vae/x.py", "from dgm_helpers import flows"),
    "upwards": (imports_sideways_or_up, "dgm_helpers/data/x.py", "import dgm_helpers.vae.model"),
    "in a function": (
        imports_sideways_or_up,
        "dgm_helpers/training/x.py",
        "def f():\n    from dgm_helpers.vae import VAE",
    ),
    "along the lower floor": (imports_sideways_or_up, "dgm_helpers/training/x.py", "import dgm_helpers.data.mnist"),
    "from probability": (
        imports_sideways_or_up,
        "dgm_helpers/probability/x.py",
        "from dgm_helpers.training import fit",
    ),
    "chapter shows": (imports_sideways_or_up, "dgm_helpers/vae/x.py", "from dgm_helpers.notebook import check"),
    "benchmark shows": (imports_notebook, "benchmarks/x.py", "from dgm_helpers.notebook.tables import table"),
    "test shows": (imports_notebook, "tests/vae/x.py", "from dgm_helpers import notebook"),
    "test with a browser": (imports_browser, "tests/vae/x.py", "from playwright.sync_api import Error"),
    "unlisted": (
        unlisted_names,
        "dgm_helpers/vae/__init__.py",
        '"""V."""\nfrom dgm_helpers.vae.model import VAE, mlp\n__all__ = ["VAE"]',
    ),
    "listed in vain": (unlisted_names, "dgm_helpers/vae/__init__.py", '"""V."""\n__all__ = ["VAE"]'),
    "no list": (unlisted_names, "dgm_helpers/vae/__init__.py", '"""V."""\nfrom dgm_helpers.vae.model import VAE'),
    "no description": (unlisted_names, "dgm_helpers/vae/__init__.py", "__all__ = []"),
    "long description": (unlisted_names, "dgm_helpers/vae/__init__.py", '"""V.\n\nMore."""\n__all__ = []'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_rules_report_a_bad_module(name):
    rule, where, source = BROKEN[name]
    assert len(rule(where, source)) == 1


GOOD = {
    "dgm_helpers/vae/x.py": "from dgm_helpers.probability import log_normal\nfrom dgm_helpers.vae.model import VAE",
    "dgm_helpers/notebook/x.py": "from dgm_helpers.notebook.checks import check\nimport torch",
    "dgm_helpers/vae/__init__.py": '"""V."""\nfrom dgm_helpers.vae.model import VAE, _w\n__all__ = ["VAE"]',
    "notebooks/vae/x.ipynb": "from dgm_helpers import flows, vae\nfrom dgm_helpers.notebook import check",
    "tests/site/x.py": "from playwright.sync_api import Error",
    "tests/vae/x.py": "import dgm_helpers.vae.model as m\nfrom dgm_helpers.flows import Flow",
}


@pytest.mark.parametrize("where", GOOD)
def test_the_rules_accept_a_good_module(where):
    assert [problem for rule in RULES for problem in rule(where, GOOD[where])] == []
