"""Changing a setting: the tool that does it to every notebook, tried on small ones; and running one notebook."""

import json
import subprocess
import sys

import nbformat
import pytest
import run as run_one
import torch
import vary
from repo import ROOT, notebooks

HEAD, NUMBERS = (
    "import os  # the set-up",
    "SEED, WIDTH = 0, 3\nRANGE = 6.0  # of a grid\nHALF = RANGE / 2\nTRAIN = False",
)
FITTING = """import torch
from dgm_helpers.training import fit
torch.manual_seed(SEED)
model = torch.nn.Linear(WIDTH, 1)
history = fit(model, lambda m, x, g: m(x).square().mean(), torch.randn(20, WIDTH), epochs=50, batch_size=10)
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """``book(*cells)``: a notebook with the head and the numbers above; what is written goes to a private folder."""
    monkeypatch.setattr(vary, "OUT", tmp_path / "vary")

    def book(*cells, numbers=NUMBERS):
        path = tmp_path / "small.ipynb"
        code = map(nbformat.v4.new_code_cell, (HEAD, numbers, *cells))
        nbformat.write(nbformat.v4.new_notebook(cells=list(code)), path)
        return path

    return book


def test_every_number_of_the_settings_is_changed(book):
    notebook = nbformat.read(book("x = load_mnist()"), as_version=4)
    assert list(vary.changes(notebook)) == [
        ("SEED", "plus one"), ("WIDTH", "half"), ("WIDTH", "double"), ("RANGE", "half"), ("RANGE", "double"),
        ("data", "turned"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_every_notebook_of_the_book_can_be_varied(path):
    """Its settings are found, and each change leaves code that compiles."""
    found = list(vary.changes(nbformat.read(path, as_version=4)))
    assert len(found) >= 8
    for name, way in found:
        for cell in vary.changed(nbformat.read(path, as_version=4), name, way, None).cells:
            if cell.cell_type == "code" and not cell.source.lstrip().startswith("%"):
                compile(cell.source, path.stem, "exec")


@pytest.mark.parametrize(
    ("value", "factor", "came"),
    [(6.0, 0.5, 3.0), (3, 0.5, 1), (1, 0.5, 1), (0, 2, 0), (3, 2, 6), ((1, 0.5), 2, (2, 1.0)), (True, 2, True),
     ([2, "a"], 2, [4, "a"]), ({"spacing": 0.1}, 2, {"spacing": 0.2}), (range(1, 11), 0.5, range(1, 5))],
)  # fmt: skip
def test_numbers_are_halved_and_doubled(value, factor, came):
    space = {}
    exec(vary.PRELUDE.split("_fit = ")[0].format(root=str(ROOT)), space)
    assert space["vary"](value, factor) == came
    assert space["vary"](torch.tensor([1, 3]), 0.5).tolist() == [1, 1]
    assert space["vary"](0.9, 2, unit=True) == pytest.approx(0.95)


def test_a_change_is_made_and_what_breaks_is_told(book):
    path = book(
        FITTING, "print(len(history.loss), HALF, WIDTH)", "assert RANGE > 5, f'too narrow: {RANGE}'\nlate = 1",
        "print(late)",
    )  # fmt: skip
    before = path.read_bytes()
    came = vary.run(path, "RANGE", "half", None, 60)
    assert came["wrong"] == {"4": "AssertionError: too narrow: 3.0"}  # the cell after it only follows from it
    assert vary.run(path, "WIDTH", "double", None, 60)["wrong"] == {}
    assert path.read_bytes() == before


def test_trainings_are_cut_and_told_facts_counted(book):
    path = book(FITTING, "assert len(history.loss) == 2\nassert SEED == 1", "print('✗ a fact\\n✗ another')")
    came = vary.run(path, "SEED", "plus one", None, 60)
    assert (came["wrong"], came["told"]) == ({}, 2)


def test_the_data_are_turned_and_cut(book):
    cells = (
        "import torch\nfrom dgm_helpers.data import load_mnist, MNIST\nfrom dgm_helpers import data",
        "images = torch.arange(3 * 784.0).reshape(3, 784)\nlabels = torch.arange(3)",
        "load_mnist.__globals__['_load'] = lambda: MNIST(images, labels, images, labels)\nmnist = load_mnist()",
        "assert mnist.train_images.shape == (2, 784)\nassert float(mnist.test_images[0, 1]) == 28.0",
    )
    assert vary.run(book(*cells), "data", "turned", 2, 60)["wrong"] == {}


def test_one_notebook_is_run_beside_the_book(book, tmp_path, capfd):
    path = book("import sys\nprint('✓ printed')\nprint('a bar', file=sys.stderr)")
    before = path.read_bytes()
    target = run_one.run(path, tmp_path / "out")
    assert path.read_bytes() == before
    assert nbformat.read(target, as_version=4).cells[2].outputs[0].text == "✓ printed\n"
    out = capfd.readouterr().out
    assert "cell 3 of 3" in out
    assert out.index("cell 3 of 3") < out.index("✓ printed") < out.index("done: ")
    assert "a bar" in out


def test_a_notebook_that_stops_is_written_as_far_as_it_came(book, tmp_path):
    path = book("early = 1\nprint(early)", "1 / 0")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run_one.run(path, tmp_path / "out")
    assert nbformat.read(tmp_path / "out" / "small.ipynb", as_version=4).cells[2].outputs[0].text == "1\n"


def test_a_notebook_is_found_by_its_name():
    assert run_one.find("vae_2d") == ROOT / "notebooks" / "vae" / "vae_2d.ipynb"
    with pytest.raises(SystemExit, match=r"there is no vae_3d; try make run NOTEBOOK= .*vae_2d"):
        run_one.find("vae_3d")


def test_a_quick_part_of_the_table(tmp_path):
    """One change of the quickest notebook, as the scheduled job makes all of them."""
    command = [
        sys.executable,
        "tools/vary.py",
        "--only",
        "SEED",
        "--limit",
        "300",
        "notebooks/probability/conditioning.ipynb",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    record = json.loads((ROOT / "_build" / "vary" / "conditioning.json").read_text(encoding="utf8"))
    assert record["SEED plus one"]["wrong"] == {}
