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
import torch
from dgm_status import (
    duration_rows,
    gpu_benchmark_lines,
    gpu_lines,
    machine_lines,
    minutes,
    notebook_of,
    quantity,
    status_rows,
    training_seconds,
)
from repo import ROOT, notebooks

from dgm_helpers.training.fit import History
from dgm_helpers.training.run import fit_or_load

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
    execute.record(tmp_path / "notebooks" / "vae" / "x.ipynb", 12.4, 11.0)
    execute.record(tmp_path / "elsewhere" / "x.ipynb", 1.0, 1.0)
    (name, entry), *others = json.loads(execute.STATUS.read_text()).items()
    assert not others
    assert name == "notebooks/vae/x.ipynb"
    assert (entry["seconds"], entry["processor_seconds"], entry["trained"]) == (12, 11, True)
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


SOURCES = {
    "notebooks/a/b": 'fit_or_load("one", m)\nname = f"two_{x}"',
    "notebooks/a/c": 'fit(f"two_more_{y}")\nfit(f"{x}_test")\nfit(f"four_{x}_seed_{y}")',
}


def test_weights_belong_to_the_notebook_that_names_them():
    assert notebook_of("one", SOURCES) == "notebooks/a/b"
    assert notebook_of("two_1", SOURCES) == "notebooks/a/b"
    assert notebook_of("two_more_1", SOURCES) == "notebooks/a/c"
    assert notebook_of("one_test", SOURCES) == "notebooks/a/c"
    assert notebook_of("four_2_seed_0", SOURCES) == "notebooks/a/c"
    with pytest.raises(LookupError, match="no notebook stores the weights three"):
        notebook_of("three", SOURCES)
    rival = {"notebooks/a/d": 'fit(f"five_{x}")', "notebooks/a/e": 'read(f"{x}_seed_0_test")'}
    assert notebook_of("five_seed_0_test", rival) == "notebooks/a/d"  # the beginning counts before the end


def test_durations(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("DGM_RETRAIN", "always")
    for name, seconds, device in (("one", 30.0, "cpu"), ("two_1", 80.0, "cpu"), ("two_2", 20.0, "A card")):
        history = History(seconds=seconds, device=device)
        fit_or_load(name, torch.nn.Linear(1, 1), lambda history=history: history, {})
    trainings = training_seconds(tmp_path, SOURCES)
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
    execute.record(path, 12.4, 11.0)
    (first,) = json.loads(execute.STATUS.read_text()).values()
    execute.record(path, 3.0, 2.0, {"memory": 1.5})
    (both,) = json.loads(execute.STATUS.read_text()).values()
    assert {key: both[key] for key in first} == first
    assert (both["gpu"]["seconds"], both["gpu"]["memory"]) == (3, 1.5)
    execute.record(path, 13.0, 11.0)
    (again,) = json.loads(execute.STATUS.read_text()).values()
    assert (again["seconds"], again["gpu"]) == (13, both["gpu"])


def test_time_only_leaves_the_file_and_measures(tmp_path):
    path = tmp_path / "x.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, path)
    before = path.read_bytes()
    reserved, allocated = execute.execute(path, store=False)
    assert reserved >= allocated >= 0
    assert path.read_bytes() == before
    execute.execute(path)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].data["text/plain"] == "2"


def test_only_trainings_of_this_run_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("DGM_RETRAIN", "always")
    for name, age in (("old", 100), ("new", 0)):
        fit_or_load(name, torch.nn.Linear(1, 1), lambda: History(seconds=7.0), {})
        os.utime(tmp_path / f"{name}.safetensors", (time.time() - age,) * 2)
    assert execute.training_seconds_since(time.time() - 50) == 7.0


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


def test_the_books_own_trainings_belong_to_the_notebooks_that_store_them():
    sources = {}
    for path in notebooks():
        cells = nbformat.read(path, as_version=4).cells
        sources[path.stem] = "".join(c.source for c in cells if c.cell_type == "code")
    owner = {name: notebook_of(name, sources) for name in ("iwae_vae_1_seed_0", "iwae_layers_vae_50_seed_0")}
    assert owner == {"iwae_vae_1_seed_0": "iwae", "iwae_layers_vae_50_seed_0": "iwae_layers"}
    assert notebook_of("banana_flows_planar_seed_1", sources) == "banana_flows"
    assert notebook_of("banana_planar", sources) == "banana_comparison"
