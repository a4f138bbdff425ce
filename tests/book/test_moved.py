"""The numbers that moved when notebooks were trained afresh."""

import json
import subprocess
import sys

import digests
import moved
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from repo import ROOT, notebooks

from dgm_helpers.notebook import Estimate, checks

NAMES = ["notebooks/a/one.ipynb", "notebooks/b/two.ipynb"]


def write(path, monkeypatch, **values):
    """A notebook that glued these values, as the book's own ``glue`` does."""
    outputs = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda data, raw, metadata: outputs.append(new_output("display_data", data=data, metadata=metadata)),
    )
    checks.glue(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = new_output("stream", name="stdout", text="1.5\n")
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell("", outputs=[text, *outputs])]), path
    )


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """(checkout, folder) of two small notebooks before and after, the second ones where an artifact is unpacked."""
    root, folder = tmp_path / "root", tmp_path / "after"
    before = {"bound": -100.0, "said": "7 of 10", "tiny": 1e-9, "same": 0.5, "gone": 1.0}
    after = {"bound": -98.0, "said": "8 of 10", "tiny": 3e-9, "same": 0.502, "new": 0.25}
    write(root / NAMES[0], monkeypatch, **before)
    write(folder / "one" / "one.ipynb", monkeypatch, **after)
    write(root / NAMES[1], monkeypatch, nats=Estimate(10.0, 0.5), zero=0.0)
    write(folder / "two" / "two.ipynb", monkeypatch, nats=Estimate(15.0, 0.5), zero=0.0)
    return root, folder


def test_what_moved_is_listed_by_its_size(trained):
    root, folder = trained
    lines = moved.report(NAMES, folder, root)
    assert "5 of 9 glued values moved by 1 % or more." in lines
    assert lines[-5:] == [
        "| one | gone | 1 |  | 200.0 % |",
        "| one | new |  | 0.25 | 200.0 % |",
        "| one | said | 7 of 10 | 8 of 10 | 200.0 % |",
        "| two | nats_value | 10 | 15 | 33.3 % |",
        "| one | bound | -100 | -98 | 2.0 % |",
    ]


def test_nothing_is_said_where_nothing_moved(trained):
    root, _ = trained
    assert moved.report(NAMES, root, root) == []


def test_a_notebook_that_did_not_end_is_named(trained):
    root, folder = trained
    (folder / "two" / "two.ipynb").unlink()
    lines = moved.report(NAMES, folder, root)
    assert lines[0] == "- notebooks/b/two.ipynb did not end, or a check failed in it"
    assert not any(line.startswith("| two") for line in lines)
    assert moved.report(NAMES, folder / "nowhere", root) == [
        f"- {n} did not end, or a check failed in it" for n in NAMES
    ]


def test_a_long_list_is_cut(trained, monkeypatch):
    root, folder = trained
    monkeypatch.setattr(moved, "ROWS", 2)
    lines = moved.report(NAMES, folder, root)
    assert lines[-1] == "And 3 more."
    assert len([line for line in lines if line.startswith(("| one", "| two"))]) == 2


def test_the_books_numbers_are_found():
    found = moved.glued(ROOT / "notebooks" / "mcmc" / "kl_contraction.ipynb")
    assert found["k_shown"] == 60.0
    assert abs(found["kl_start"] - 1.3862943611) < 1e-9
    assert all(moved.glued(path) for path in notebooks())


def test_what_two_cores_can_train():
    """Notebooks that load trainings of a processor alone: so neither E1, nor A4 with its trainings of a GPU."""
    names = moved.trainable()
    assert "notebooks/vae/vae_2d.ipynb" in names
    assert not {"notebooks/vae/iwae.ipynb", "notebooks/vae/iwae_layers.ipynb", "notebooks/vae/conv_vae.ipynb"} & set(
        names
    )
    assert "notebooks/mcmc/kl_contraction.ipynb" not in names  # it has nothing to train
    seconds = {
        name: sum(digests.history(ROOT / "weights" / file)["seconds"] for file in digests.read()[name]["weights"])
        for name in names
    }
    assert max(seconds.values()) < 3 * 3600  # a job of the workflow ends within six hours


def test_the_commands_of_the_workflow_need_nothing_installed():
    """``-S`` leaves out the packages of this environment."""

    def run(argument):
        command = [sys.executable, "-S", str(ROOT / "tools" / "moved.py"), argument]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert json.loads(run("--trainable")) == moved.trainable()
    assert run(str(ROOT / "notebooks")) == ""
