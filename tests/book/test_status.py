"""The status page's table, and the record that it reads."""

import json
import os
import re
import subprocess
import sys
import time

import execute
import nbformat
import pytest
import run_times
from repo import ROOT, notebooks
from status_tables import (
    duration_rows,
    gpu_benchmark_lines,
    gpu_lines,
    machine_lines,
    minutes,
    quantity,
    status_rows,
    training_seconds,
)

from dgm_helpers.training.fit import History
from dgm_helpers.training.stored import write_file

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


@pytest.mark.parametrize(("seconds", "text"), [(99, "99 s"), (100, "1.7 min"), (7199, "120.0 min"), (9000, "2.5 h")])
def test_durations_are_readable(seconds, text):
    assert minutes(seconds) == text


def test_rows():
    status = STATUS | {"notebooks/a/b.ipynb": ENTRY | {"gpu": {"seconds": 120}}}
    assert status_rows(status, TITLES)[2:] == [
        "| [First](/notebooks/a/b.ipynb) | 2026-01-02 | 90 s | 80 s | 2.0 min |",
        "| [Second, with training](/notebooks/a/c.ipynb) | 2026-01-02 | 90 s | 3.3 min |  |",
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
    execute.record(tmp_path / "notebooks" / "vae" / "x.ipynb", 12.4, 11.0, 1.204)
    execute.record(tmp_path / "elsewhere" / "x.ipynb", 1.0, 1.0, 1.0)
    (name, entry), *others = json.loads(execute.STATUS.read_text()).items()
    assert not others
    assert name == "notebooks/vae/x.ipynb"
    assert (entry["seconds"], entry["processor_seconds"], entry["trained"]) == (12, 11, True)
    assert entry["resident"] == 1.2
    assert entry["device"]
    assert entry["versions"].keys() == {"python", "torch", "numpy", "matplotlib"}


def test_every_notebook_states_its_measured_run_time():
    """In its first cell, as the last line; and no other time is typed there."""
    status = json.loads(run_times.STATUS.read_text(encoding="utf8"))
    for path in notebooks():
        first = nbformat.read(path, as_version=4).cells[0].source
        line = run_times.LINE.search(first)
        assert line, f"{path}: no run time; python tools/run_times.py writes it"
        assert line[0].strip() == run_times.run_time(status[path.relative_to(ROOT).as_posix()]), path
        assert not re.search(r"\b(minutes?|seconds)\b", first[: line.start()]), path


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "10 seconds"), (19, "20 seconds"), (44, "40 seconds"), (45, "a minute"), (89, "a minute"), (552, "9 minutes")],
)
def test_run_times_in_words(seconds, words):
    assert run_times.about(seconds) == words


def test_stating_a_run_time_again_changes_nothing_else(tmp_path):
    path = tmp_path / "x.ipynb"
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nText."), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    before = json.loads(path.read_text())
    for _ in range(2):
        run_times.state(path, ENTRY)
    after = json.loads(path.read_text())
    assert "".join(after["cells"][0]["source"]) == "# Title\n\nText.\n\n" + run_times.run_time(ENTRY)
    after["cells"][0]["source"] = before["cells"][0]["source"]
    assert after == before


def test_processor_time_of_a_program_that_ended():
    before = execute.processor_seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert execute.processor_seconds() - before > 0.25


def test_no_notebook_is_recorded_that_is_not_there():
    recorded = json.loads((ROOT / "notebooks" / "status.json").read_text())
    assert set(recorded) <= {str(path.relative_to(ROOT)) for path in notebooks()}


def write_history(path, **history):
    write_file(path, {}, {}, History(**history))


def loaded(*names):
    return {"weights": dict.fromkeys((f"{name}.safetensors" for name in names), "0")}


def test_weights_belong_to_the_first_notebook_that_loaded_them(tmp_path):
    names = ["notebooks/z/first", "notebooks/a/second"]  # the order of the table of contents, not of the names
    digests = {f"{names[1]}.ipynb": loaded("shared", "own"), f"{names[0]}.ipynb": loaded("shared")}
    for name in ("shared", "own"):
        write_history(tmp_path / f"{name}.safetensors", seconds=7.0)
    assert training_seconds(tmp_path, digests, names) == {name: {"CPU": 7.0} for name in names}
    write_history(tmp_path / "three.safetensors", seconds=1.0)
    with pytest.raises(LookupError, match=r"no notebook loads three\.safetensors"):
        training_seconds(tmp_path, digests, names)
    with pytest.raises(LookupError, match=r"not in notebooks/digests\.json: notebooks/b/new; run `make execute`"):
        training_seconds(tmp_path, digests, [*names, "notebooks/b/new"])


def test_durations(tmp_path):
    for name, device, seconds in (("one", "cpu", 100.0), ("two_1", "cpu", 10.0), ("two_2", "A card", 20.0)):
        write_history(tmp_path / f"{name}.safetensors", seconds=seconds, device=device)
    digests = {"notebooks/a/b.ipynb": loaded("one", "two_1", "two_2"), "notebooks/a/c.ipynb": loaded("one")}
    trainings = training_seconds(tmp_path, digests, list(TITLES))
    assert trainings == {"notebooks/a/b": {"CPU": 110.0, "GPU": 20.0}}
    gpu = {"seconds": 40, "training_seconds": 30, "memory": 2.26, "failed": 0, "device": "A card"}
    gpu |= {"versions": {"torch": "2.11.0"}}
    status = STATUS | {"notebooks/a/c.ipynb": STATUS["notebooks/a/c.ipynb"] | {"gpu": gpu}}
    assert duration_rows(status, TITLES, trainings)[2:] == [
        "| [First](/notebooks/a/b.ipynb) | 80 s | 1.8 min, 20 s (GPU) |  |  |  |",
        "| [Second](/notebooks/a/c.ipynb) | 3.3 min |  | 40 s | 30 s | 40 s to 5.2 min |",
        "| All | 4.7 min | 1.8 min, 20 s (GPU) | | | |",
    ]
    card = "The card: A card, torch 2.11.0. The most memory that a notebook reserved there is 2.3 GiB."
    assert gpu_lines(status, TITLES) == [card]
    gpu["allocated"] = 1.24
    assert gpu_lines(status, TITLES)[0].endswith("2.3 GiB, PyTorch's cache included; its tensors took 1.2 GiB at most.")
    gpu["failed"] = 2
    assert duration_rows(status, TITLES, trainings)[3].endswith(r"| 40 s\* | 30 s | 40 s to 5.2 min |")
    assert gpu_lines(status, TITLES)[1].startswith(r"\* In this run a few cells failed")
    assert gpu_lines(STATUS, TITLES) == []
    gpu["training_seconds"] = None  # not told apart
    assert duration_rows(status, TITLES, {})[3].endswith(r"| 40 s\* |  |  |")
    gpu["training_seconds"] = 0  # all of it is computed at the processor's pace, as far as anyone knows
    assert duration_rows(status, TITLES, trainings)[3].endswith("| 0 s | 40 s |")


def test_a_second_machine_changes_no_output_and_not_the_first_entry(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "STATUS", tmp_path / "notebooks" / "status.json")
    path = tmp_path / "notebooks" / "vae" / "x.ipynb"
    path.parent.mkdir(parents=True)
    execute.record(path, 12.4, 11.0, 1.0)
    (first,) = json.loads(execute.STATUS.read_text()).values()
    execute.record(path, 3.0, 2.0, 1.0, {"memory": 1.5})
    (both,) = json.loads(execute.STATUS.read_text()).values()
    assert {key: both[key] for key in first} == first
    assert (both["gpu"]["seconds"], both["gpu"]["memory"]) == (3, 1.5)
    execute.record(path, 13.0, 11.0, 1.0)
    (again,) = json.loads(execute.STATUS.read_text()).values()
    assert (again["seconds"], again["gpu"]) == (13, both["gpu"])


def test_time_only_leaves_the_file_and_measures(tmp_path):
    path = tmp_path / "x.ipynb"
    code = "import torch\nones = torch.ones(2**27)\ndel ones\n1 + 1"  # half a GiB, given back
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    before = path.read_bytes()
    reserved, allocated, resident = execute.execute(path, store=False)
    assert reserved >= allocated >= 0
    assert 0.6 < resident < 2
    assert path.read_bytes() == before
    execute.execute(path)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].data["text/plain"] == "2"


def test_only_trainings_of_this_run_are_counted(tmp_path, monkeypatch):
    """Those of the book, of `make retrain`, and those in the user's cache."""
    for number, variable in enumerate(("DGM_WEIGHTS_DIR", "DGM_CACHE_DIR")):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        for name, age in (("old", 100), ("new", 0)):
            path = tmp_path / variable / f"{name}.safetensors"
            write_history(path, seconds=7.0 + number)
            os.utime(path, (time.time() - age,) * 2)
    assert execute.training_seconds_since(time.time() - 50) == 15.0


def test_gpu_benchmarks_are_those_recorded():
    folder = ROOT / "benchmarks"
    text = "\n".join(gpu_benchmark_lines(folder))
    epoch = json.loads((folder / "b4_vae.gpu.json").read_text())["float32"]
    steps = json.loads((folder / "hmc.gpu.json").read_text())["leapfrog_steps_per_second"]
    assert f"{1000 * epoch:.0f} ms" in text
    assert f"{steps['sample_hmc compiled, 10,000 chains'] / 1e9:.3g} billion" in text


@pytest.mark.parametrize(("value", "text"), [(2.6472e9, "2.65 billion"), (4.6e6, "4.6 million"), (253_415, "253,415")])
def test_large_numbers_are_readable(value, text):
    assert quantity(value) == text
