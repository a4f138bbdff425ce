"""The status page's table, and the record that it reads."""

import json
import subprocess
import sys

import execute
import pytest
from dgm_status import machine_lines, status_rows
from repo import ROOT, notebooks

ENTRY = {
    "date": "2026-01-02",
    "seconds": 90,
    "processor_seconds": 80,
    "device": "A processor, 1 thread",
    "trained": False,
    "versions": {"python": "3.11.1", "torch": "2.15.0"},
}
STATUS = {"notebooks/a/b.ipynb": ENTRY, "notebooks/a/c.ipynb": ENTRY | {"processor_seconds": 200, "trained": True}}
TITLES = {"notebooks/a/b": "First", "notebooks/a/c": "Second"}


def test_rows():
    assert status_rows(STATUS, TITLES)[2:] == [
        "| [First](/notebooks/a/b.ipynb) | 2026-01-02 | 90 s | 80 s | 2.15.0 |",
        "| [Second, with training](/notebooks/a/c.ipynb) | 2026-01-02 | 90 s | 3.3 min | 2.15.0 |",
    ]


def test_machines_are_grouped():
    one = "on A processor, 1 thread; python 3.11.1, torch 2.15.0."
    assert machine_lines(STATUS, TITLES) == [f"- 2 notebooks, 4.7 min of processor time in all, {one}"]
    other = STATUS | {"notebooks/a/c.ipynb": ENTRY | {"device": "A card"}}
    assert machine_lines(other, TITLES)[1].startswith("- 1 notebook, 80 s of processor time in all, on A card;")


def test_a_notebook_without_entry_is_named():
    with pytest.raises(LookupError, match="notebooks/a/new; run `make execute`"):
        status_rows(STATUS, TITLES | {"notebooks/a/new": "New"})


def test_execution_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "STATUS", tmp_path / "notebooks" / "status.json")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("DGM_RETRAIN", "always")
    execute.record(tmp_path / "notebooks" / "vae" / "x.ipynb", 12.4, 11.0)
    execute.record(tmp_path / "elsewhere" / "x.ipynb", 1.0, 1.0)
    (name, entry), *others = json.loads(execute.STATUS.read_text()).items()
    assert not others
    assert name == "notebooks/vae/x.ipynb"
    assert (entry["seconds"], entry["processor_seconds"], entry["trained"]) == (12, 11, True)
    assert entry["device"]
    assert entry["versions"].keys() == {"python", "torch", "numpy", "matplotlib"}


def test_processor_time_of_a_program_that_ended():
    before = execute.processor_seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert execute.processor_seconds() - before > 0.25


def test_no_notebook_is_recorded_that_is_not_there():
    recorded = json.loads((ROOT / "notebooks" / "status.json").read_text())
    assert set(recorded) <= {str(path.relative_to(ROOT)) for path in notebooks()}
