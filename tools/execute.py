"""Re-execute notebooks in place, reproducibly: an unchanged notebook leaves no diff in its text outputs.

    python tools/execute.py notebooks/vae/vae_2d.ipynb ...

Progress bars and warnings (stderr) are not stored, and neither are timings, nor metadata of the machine. A notebook
that fails is left as it was. When it ran, for how long and with what goes into notebooks/status.json, which the status
page shows.
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
import time
from pathlib import Path

# before the kernel starts: the same rounding whatever the machine's core count, as in `make test`
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("PYTHONHASHSEED", "0")

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

KEPT = ("mystnb", "tags")  # cell metadata that the site uses
ROOT = Path(__file__).resolve().parent.parent
STATUS = ROOT / "notebooks" / "status.json"


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


def execute(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    partial = path.with_suffix(".partial")
    nbformat.write(tidy(notebook), partial)
    os.replace(partial, path)


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


def record(path, seconds, processor_seconds):
    """Note one execution in notebooks/status.json. A notebook from elsewhere is not the book's.

    The processor's time does not depend on what else the machine was doing; on a GPU only the elapsed time says much.
    """
    if path.resolve().parent.parent != STATUS.parent:
        return
    status = json.loads(STATUS.read_text(encoding="utf8")) if STATUS.exists() else {}
    status[path.resolve().relative_to(ROOT).as_posix()] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(seconds),
        "processor_seconds": round(processor_seconds),
        "device": device(),
        "trained": os.environ.get("DGM_RETRAIN") == "always",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("torch", "numpy", "matplotlib")},
    }
    STATUS.write_text(json.dumps(dict(sorted(status.items())), indent=1) + "\n", encoding="utf8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    failed = []
    for path in parser.parse_args().notebooks:
        started, used = time.perf_counter(), processor_seconds()
        print(f"{path} ...", flush=True)
        try:
            execute(path)
            seconds, used = time.perf_counter() - started, processor_seconds() - used
            print(f"  done in {seconds:.0f} s, {used:.0f} s of the processor", flush=True)
            record(path, seconds, used)
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            failed.append(str(path))
    if failed:
        sys.exit(f"failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main()
