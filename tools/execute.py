"""Re-execute notebooks in place, reproducibly: an unchanged notebook leaves no diff in its text outputs.

    python tools/execute.py notebooks/vae/vae_2d.ipynb ...

Progress bars and warnings (stderr) are not stored, and neither are timings, nor metadata of the machine. A notebook
that fails is left as it was.
"""

import argparse
import os
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    failed = []
    for path in parser.parse_args().notebooks:
        started = time.perf_counter()
        print(f"{path} ...", flush=True)
        try:
            execute(path)
            print(f"  done in {time.perf_counter() - started:.0f} s", flush=True)
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            failed.append(str(path))
    if failed:
        sys.exit(f"failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main()
