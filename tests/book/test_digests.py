"""The stored outputs of a notebook are those of its code, the modules that it imports, and the weights it loads."""

import ast
import json

import digests
import execute
import numpy as np
import pytest
import repository
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from repo import ROOT, notebooks
from safetensors.numpy import save_file

NAMES = [str(path.relative_to(ROOT)) for path in notebooks()]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_no_older_than_what_they_depend_on(name):
    entry = digests.read().get(name)
    assert entry, f"the outputs of {name} belong to no known code: `make execute NOTEBOOKS={name}`"
    changed = digests.stale(ROOT / name, entry)
    assert changed == [], f"stale outputs: `make execute NOTEBOOKS={name}`"


def test_every_entry_is_of_a_notebook():
    assert set(digests.read()) <= set(NAMES)


# ---- what is seen and what is not, in a toy book ----

CELL = '''import math
from dgm_helpers.vae import VAE, extra
from dgm_helpers import probability as prob

WIDTH = 20  # units


def figure():
    """Draw."""
    return f"{WIDTH!r:>{WIDTH}}"


figure()'''
TREE = {
    "dgm_helpers/__init__.py": '"""All."""\n',
    "dgm_helpers/vae/__init__.py": (
        "from dgm_helpers.vae.model import VAE\nfrom dgm_helpers.vae.conv import Conv\n__all__ = ['VAE', 'Conv']\n"
    ),
    "dgm_helpers/vae/model.py": "from ..training import fit\n\n\ndef VAE():\n    'A model.'\n    return fit(1)\n",
    "dgm_helpers/vae/conv.py": "class Conv:\n    SIZE = 3\n",
    "dgm_helpers/vae/extra.py": (
        "from dgm_helpers.latent import *\n\n\ndef lazy():\n    import dgm_helpers.flows.layers\n"
    ),
    "dgm_helpers/latent/__init__.py": "from .ppca import fit_ppca\n",
    "dgm_helpers/latent/ppca.py": "fit_ppca = 1\n",
    "dgm_helpers/training/__init__.py": "from dgm_helpers.training.fit import fit, other\n",
    "dgm_helpers/training/fit.py": '"""Fit."""\n\n\ndef fit(x):\n    return 2 * x  # twice\n',
    "dgm_helpers/flows/__init__.py": "from .layers import Flow\n\nLAYERS = 3\n",
    "dgm_helpers/flows/layers.py": "Flow = 1\n",
    "dgm_helpers/probability/__init__.py": "from . import densities\nfrom .densities import log_normal\n",
    "dgm_helpers/probability/densities.py": "def log_normal(x):\n    return -x * x / 2\n",
}
USED = {
    "dgm_helpers/vae/model.py",
    "dgm_helpers/vae/extra.py",
    "dgm_helpers/training/fit.py",
    "dgm_helpers/flows/__init__.py",  # of its own code the others hold nothing
    "dgm_helpers/flows/layers.py",
    "dgm_helpers/latent/ppca.py",
    "dgm_helpers/probability/densities.py",
}
NOTEBOOK = "notebooks/vae/x.ipynb"


def write_notebook(path, *sources):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("# Title"), *map(new_code_cell, sources)]
    path.write_text(json.dumps(new_notebook(cells=cells)), encoding="utf8")


def write_weights(path, bias=0.0, **notes):
    path.parent.mkdir(exist_ok=True)
    notes = {"history": '{"loss": [1.0], "seconds": 2}', "fingerprint": "old"} | notes
    save_file({"weight": np.ones((2, 2), "float32"), "bias": np.array([bias])}, path, metadata=notes)


@pytest.fixture
def book(tmp_path):
    """A toy book: its folder."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    write_notebook(tmp_path / NOTEBOOK, CELL, "WIDTH + 1;")
    write_weights(tmp_path / "weights" / "x.safetensors")
    return tmp_path


@pytest.fixture
def changed(book):
    """``changed()``: what the test says is stale, since now."""
    weights = {"x.safetensors": digests.weights_digest(book / "weights" / "x.safetensors")}
    entry = json.loads(json.dumps(digests.sources(book / NOTEBOOK, book) | {"weights": weights}))
    assert entry["modules"].keys() == USED

    def compare():
        digests.weights_digest.cache_clear()
        return digests.stale(book / NOTEBOOK, entry, book)

    assert compare() == []
    return compare


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH = 20", "WIDTH = 21"),
        ("WIDTH = 20", "WIDTH = 20.0"),
        ("import VAE, extra", "import VAE as M, extra"),
        ("!r", "!s"),
        ("return f", "print(); return f"),
    ],
)
def test_changed_code_of_a_notebook_is_seen(old, new, book, changed):
    assert old in CELL
    write_notebook(book / NOTEBOOK, CELL.replace(old, new), "WIDTH + 1;")
    assert changed() == ["its code cells"]


def test_what_a_cell_shows_is_seen(book, changed):
    """Its last value, unless a semicolon follows."""
    write_notebook(book / NOTEBOOK, CELL, "WIDTH + 1")
    assert changed() == ["its code cells"]
    write_notebook(book / NOTEBOOK, CELL + "\nWIDTH + 1;")
    assert changed() == ["its code cells"]
    write_notebook(book / NOTEBOOK, "WIDTH + 1;", CELL)
    assert changed() == ["its code cells"]
    shown = []
    for text in ("'shown'", "'shown too'"):
        write_notebook(book / NOTEBOOK, CELL, text)
        shown.append(digests.code_digest(book / NOTEBOOK))
    assert len(set(shown)) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # units", ""),
        ("WIDTH = 20", "# how wide\nWIDTH = (20)"),
        ('"""Draw."""', '"""Draw it."""'),
        ('    """Draw."""\n', ""),
        ('f"{WIDTH!r:>{WIDTH}}"', "f'{WIDTH!r:>{WIDTH}}'"),
    ],
)
def test_what_changes_no_output_of_a_notebook_is_not_seen(old, new, book, changed):
    assert old in CELL
    write_notebook(book / NOTEBOOK, CELL.replace(old, new), "WIDTH + 1 ;  # no value shown")
    assert changed() == []


@pytest.mark.parametrize(
    ("name", "old", "new", "seen"),
    [
        ("training/fit.py", "2 * x", "3 * x", True),  # through vae/model.py and the list of names between
        ("training/fit.py", "  # twice", "", False),
        ("training/fit.py", '"""Fit."""', '"""It fits."""', False),
        ("vae/model.py", "'A model.'", "'Another.'\n    # it is fitted", False),
        ("vae/model.py", "fit(1)", "fit(1.0)", True),
        ("vae/conv.py", "SIZE = 3", "SIZE = 5", False),  # not imported
        ("vae/extra.py", "    import dgm", "    1\n    import dgm", True),  # imported as a module
        ("flows/layers.py", "1", "2", True),  # within a function
        ("latent/ppca.py", "1", "2", True),  # with all names of its package
        ("flows/__init__.py", "3", "4", True),
        ("probability/densities.py", "-x", "x", True),  # from a package imported as a whole
        ("probability/__init__.py", "from", '"""Read first."""\nfrom', False),
        ("vae/__init__.py", "'VAE', 'Conv'", "'Conv', 'VAE'", False),
        ("vae/__init__.py", "from dgm_helpers.vae.conv import Conv\n", "", False),
    ],
)
def test_a_changed_line_of_a_module_is_seen_if_it_can_matter(name, old, new, seen, book, changed):
    path = book / "dgm_helpers" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert changed() == ([f"dgm_helpers/{name}"] if seen else [])


def test_modules_that_come_and_go(book, changed):
    package = book / "dgm_helpers"
    (package / "vae" / "conv.py").rename(package / "vae" / "convolutional.py")
    text = (package / "vae" / "__init__.py").read_text()
    (package / "vae" / "__init__.py").write_text(text.replace("vae.conv ", "vae.convolutional "))
    assert changed() == []  # nothing of it is used
    (package / "training" / "fit.py").rename(package / "training" / "loop.py")
    (package / "training" / "__init__.py").write_text("from dgm_helpers.training.loop import fit\n")
    assert changed() == [
        "dgm_helpers/training/fit.py (no longer there, or no longer used)",
        "dgm_helpers/training/loop.py (not used then)",
    ]


def test_another_module_behind_the_same_name_is_seen(book, changed):
    text = "from dgm_helpers.vae.conv import Conv as VAE\n"
    (book / "dgm_helpers" / "vae" / "__init__.py").write_text(text)
    assert "dgm_helpers/vae/conv.py (not used then)" in changed()


def test_changed_weights_are_seen(book, changed):
    path = book / "weights" / "x.safetensors"
    write_weights(path, fingerprint="new")
    assert changed() == []  # the numbers are the same
    write_weights(path, history='{"seconds": 2,  "loss": [1.0]}')
    assert changed() == []  # and so they are in another order
    write_weights(path, history='{"loss": [1.5], "seconds": 2}')
    assert changed() == ["weights/x.safetensors"]
    write_weights(path, bias=1e-300)
    assert changed() == ["weights/x.safetensors"]
    path.unlink()
    assert changed() == ["weights/x.safetensors (no longer there, or no longer used)"]


def test_a_weights_digest_is_of_names_shapes_and_numbers(tmp_path):
    ones, found = np.ones((2, 2), "float32"), []
    for tensors in ({"a": ones}, {"b": ones}, {"a": ones.ravel()}, {"a": 0 * ones}, {"a": ones.view("int32")}, {}):
        save_file(tensors, tmp_path / f"{len(found)}.safetensors")
        found.append(digests.weights_digest(tmp_path / f"{len(found)}.safetensors"))
    assert len(set(found)) == len(found)


def test_the_address_of_the_book_is_no_code(tmp_path):
    found = set()
    for url in ("", "https://github.com/example/book"):
        write_notebook(tmp_path / "x.ipynb", repository.SETUP.format(url=url), "1 + 1")
        found.add(digests.code_digest(tmp_path / "x.ipynb"))
    assert len(found) == 1


EVERY_VERSION = """
def f(x: int, /, y=-1.5e-3, *args, z=None, **kw) -> "str":
    return f"a{x!r:>{y}}b" "c" f"{x=}" f"{y:{x}.{z}f}" f"{x:%H:%M} {x:}" f"" "" rf"\\n{x}" f"{{}}"
class A(B, metaclass=M):
    x: float = 1
async def g():
    async with a as b, c: x = [i async for i in y if i]
match p:
    case {"a": 1, **r} if q: pass
    case [1, *_] | None: pass
x = {**a, "é": b"\\xff", 1: ...}; x[1:2, ::3] += 1j
"""


def test_a_digest_does_not_depend_on_the_version_of_python():
    """The value was computed in Python 3.11, 3.12 and 3.13, where ``ast.dump`` and ``ast.unparse`` differ."""
    assert digests.digest(digests.plain(ast.parse(EVERY_VERSION))) == "6d0820ae4a53766c"


# ---- the execution writes them, and nothing else does ----


def test_execution_records_what_it_depended_on(book, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", book)
    monkeypatch.setattr(execute, "STATUS", book / "notebooks" / "status.json")
    path, stored = book / NOTEBOOK, book / "notebooks" / "digests.json"
    code = "import os\nwith open(os.environ['DGM_LOADED'], 'a') as log:\n    print('{}', file=log)"
    write_notebook(path, code.format(book / "x.safetensors"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"x\.safetensors is not one of the book's weights; `make retrain"):
        execute.execute(path)
    assert path.read_bytes() == before
    write_notebook(path, code.format(book / "weights" / "x.safetensors"))
    execute.execute(path, store=False)
    assert not stored.exists()
    execute.execute(path)
    entry = digests.read(stored)[NOTEBOOK]
    assert entry["weights"] == {"x.safetensors": digests.weights_digest(book / "weights" / "x.safetensors")}
    assert digests.stale(path, entry, book) == []


def test_execution_keeps_the_numbers_behind_the_books_claims(book, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", book)
    monkeypatch.setattr(execute, "STATUS", book / "notebooks" / "status.json")
    kept = book / "notebooks" / "checks.json"
    notes = [
        {"claim": c, "measured": {"off": n}, "settings": {"WIDTH": "3"}} for c, n in (("near", "0.1"), ("far", "9"))
    ]
    code = "import os\nwith open(os.environ['DGM_CHECKS'], 'a') as log:\n    print('''{}''', file=log)"
    write_notebook(book / NOTEBOOK, code.format("\n".join(map(json.dumps, notes))))
    execute.execute(book / NOTEBOOK, store=False)
    assert not kept.exists()
    execute.execute(book / NOTEBOOK)
    claims = {"near": {"off": "0.1"}, "far": {"off": "9"}}
    assert digests.read(kept) == {NOTEBOOK: {"settings": {"WIDTH": "3"}, "claims": claims}}
