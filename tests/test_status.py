"""The status page's table, and the record that it reads."""

import json

import execute
import pytest
from dgm_status import machine_lines, status_rows
from repo import ROOT, notebooks

ENTRY = {
    "date": "2026-01-02",
    "seconds": 90,
    "device": "A processor, 1 thread",
    "trained": False,
    "versions": {"python": "3.11.1", "torch": "2.15.0"},
}
STATUS = {"notebooks/a/b.ipynb": ENTRY, "notebooks/a/c.ipynb": ENTRY | {"seconds": 200, "trained": True}}
TITLES = {"notebooks/a/b": "First", "notebooks/a/c": "Second"}


def test_rows():
    assert status_rows(STATUS, TITLES)[2:] == [
        "| [First](/notebooks/a/b.ipynb) | 2026-01-02 | 90 s | 2.15.0 |",
        "| [Second](/notebooks/a/c.ipynb) | 2026-01-02 | 3.3 min, with training | 2.15.0 |",
    ]


def test_machines_are_grouped():
    one = "on A processor, 1 thread; python 3.11.1, torch 2.15.0."
    assert machine_lines(STATUS, TITLES) == [f"- 2 notebooks, 4.8 min in all, {one}"]
    other = STATUS | {"notebooks/a/c.ipynb": ENTRY | {"device": "A card"}}
    assert machine_lines(other, TITLES)[1].startswith("- 1 notebook, 90 s in all, on A card;")


def test_a_notebook_without_entry_is_named():
    with pytest.raises(LookupError, match="notebooks/a/new; run `make execute`"):
        status_rows(STATUS, TITLES | {"notebooks/a/new": "New"})


def test_execution_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "STATUS", tmp_path / "notebooks" / "status.json")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("DGM_RETRAIN", "always")
    execute.record(tmp_path / "notebooks" / "vae" / "x.ipynb", 12.4)
    execute.record(tmp_path / "elsewhere" / "x.ipynb", 1.0)
    (name, entry), *others = json.loads(execute.STATUS.read_text()).items()
    assert not others
    assert name == "notebooks/vae/x.ipynb"
    assert (entry["seconds"], entry["trained"]) == (12, True)
    assert entry["device"]
    assert entry["versions"].keys() == {"python", "torch", "numpy", "matplotlib"}


def test_no_notebook_is_recorded_that_is_not_there():
    recorded = json.loads((ROOT / "notebooks" / "status.json").read_text())
    assert set(recorded) <= {str(path.relative_to(ROOT)) for path in notebooks()}
