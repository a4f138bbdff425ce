"""Re-execute notebooks in place, reproducibly: an unchanged notebook leaves no diff in its text outputs.

    python tools/execute.py notebooks/vae/vae_2d.ipynb ...
    python tools/execute.py --time-only notebooks/vae/vae_2d.ipynb ...    # store the time, leave the outputs

Progress bars and warnings (stderr) are not stored, and neither are timings, nor metadata of the machine. A notebook
that fails is left as it was. When it ran, for how long and with what goes into notebooks/status.json, which the status
page shows, and how long also into its first cell; what its outputs depend on goes into notebooks/digests.json.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

# before the kernel starts: the same rounding whatever the machine's core count, as in `make test`
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("PYTHONHASHSEED", "0")

import digests
import nbformat
import run_times
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

KEPT = ("mystnb", "tags")  # cell metadata that the site uses
ROOT = Path(__file__).resolve().parent.parent
STATUS = run_times.STATUS
STRICT = ROOT / "tools" / "strict_cells.py"
MEMORY = """import resource, sys
import torch
peaks = torch.cuda.max_memory_reserved, torch.cuda.max_memory_allocated
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(*((f() if torch.cuda.is_available() else 0) for f in peaks), resident)"""


def tidy(notebook):
    """Drop what differs from run to run or from machine to machine."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("metadata", {}).pop("needs_background", None)
    return notebook


def processor_seconds():
    """Processor time of all programs that this one started and that have ended: the kernels."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_book(path):
    """Whether a notebook is one of the book's, under notebooks/."""
    return path.resolve().parent.parent == STATUS.parent


def update(file, path, change):
    """Give the notebook a new entry in a file of notebooks/, ``change(old)``; return it. Whole or not at all."""
    entries = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    name = path.resolve().relative_to(ROOT).as_posix()
    entries[name] = change(entries.get(name, {}))
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf8")
    os.replace(partial, file)
    return entries[name]


def execute(path, store=True):
    """Execute a notebook and, if asked to, store its outputs and, of a notebook of the book, what they depend on.

    Returns the GiB of GPU memory that it reserved, PyTorch's cache included, and that its tensors took at most, and the
    GiB of main memory that its kernel held at most. Raises ValueError, before anything is stored, if it loaded results
    that are not the book's.
    """
    depends = digests.sources(path, ROOT) if in_book(path) else {}  # as they are before: a later change is told then
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(MEMORY))
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    )
    # take the paths of the files that the notebook loads, and the numbers behind its claims about the book's run
    with tempfile.NamedTemporaryFile() as log, tempfile.NamedTemporaryFile() as checks:
        client.execute(
            env=os.environ | {"DGM_LOADED": log.name, "DGM_CHECKS": checks.name, "PYTHONSTARTUP": str(STRICT)}
        )
        notes = [json.loads(line) for line in Path(checks.name).read_text(encoding="utf8").splitlines()]
        weights = digests.loaded_weights(Path(log.name), ROOT / "weights") if store and depends else {}
    memory = [int(number) / 2**30 for number in notebook.cells.pop().outputs[0].text.split()]
    if not store:
        return memory
    partial = path.with_suffix(".partial")
    nbformat.write(tidy(notebook), partial)
    os.replace(partial, path)
    if depends:
        update(STATUS.with_name("digests.json"), path, lambda _: depends | {"weights": weights})
    if depends and notes:
        claims = {"settings": notes[-1]["settings"], "claims": {n["claim"]: n["measured"] for n in notes}}
        update(STATUS.with_name("checks.json"), path, lambda _: claims)
    return memory


def training_seconds_since(start):
    """Seconds of the trainings stored since ``start``, by the clock."""
    from dgm_helpers.training import cache_dir, read_file, weights_dir

    files = [path for folder in (weights_dir(), cache_dir()) for path in folder.glob("*.safetensors")]
    return sum(read_file(path)[2].seconds for path in files if path.stat().st_mtime >= start)


def processor():
    """The processor's name, or what the system calls it."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf8"))
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def device():
    """The graphics card that the notebooks use, or the processor with its threads."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = os.environ["OMP_NUM_THREADS"]
    return f"{processor()}, {threads} thread{'' if threads == '1' else 's'}"


def record(path, seconds, processor_seconds, resident, gpu=None):
    """Note one execution in notebooks/status.json. A notebook from elsewhere is not the book's.

    The processor's time does not depend on what else the machine was doing. resident: GiB of main memory, of which
    Binder has few. gpu: what else is known of an execution on a graphics card; it is noted beside the one that made the
    stored outputs. Returns the notebook's entry.
    """
    if not in_book(path):
        return None
    entry = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(seconds),
        "processor_seconds": round(processor_seconds),
        "resident": round(resident, 2),
        "device": device(),
        "trained": os.environ.get("DGM_RETRAIN") == "always",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("torch", "numpy", "matplotlib")},
    }
    if gpu is None:
        return update(STATUS, path, lambda old: entry | ({"gpu": old["gpu"]} if "gpu" in old else {}))
    return update(STATUS, path, lambda old: old | {"gpu": entry | gpu})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--time-only", action="store_true", help="leave the stored outputs, on a second machine say")
    arguments, failed = parser.parse_args(), []
    for path in arguments.notebooks:
        started, used, clock = time.perf_counter(), processor_seconds(), time.time()
        print(f"{path} ...", flush=True)
        try:
            reserved, allocated, resident = execute(path, store=not arguments.time_only)
            seconds, used = time.perf_counter() - started, processor_seconds() - used
            print(f"  done in {seconds:.0f} s, {used:.0f} s of the processor", flush=True)
            gpu = {"memory": round(reserved, 2), "allocated": round(allocated, 2), "failed": 0}
            gpu["training_seconds"] = round(training_seconds_since(clock))
            entry = record(path, seconds, used, resident, gpu if reserved > 0 and arguments.time_only else None)
            if entry and not arguments.time_only:
                run_times.state(path, entry)
        except (CellExecutionError, SyntaxError, ValueError) as error:
            print(error, file=sys.stderr)
            failed.append(str(path))
    if failed:
        sys.exit(f"failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main()
