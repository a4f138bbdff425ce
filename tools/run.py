"""Run one notebook into ``_build/run``, and show meanwhile where it is and what it prints. No tracked file changes.

    python tools/run.py notebooks/vae/vae_2d.ipynb      or its name alone: vae_2d

This is for trying another setting, in a copy of the notebook as well. To renew the book's outputs: tools/execute.py.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "_build" / "run"


class Shown(NotebookClient):
    """Passes on what a cell prints, at once: progress bars, warnings, checks."""

    def output(self, outs, msg, display_id, cell_index):
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", flush=True)
        return super().output(outs, msg, display_id, cell_index)


def find(name):
    """A notebook's path, from it or from the notebook's name. Raises SystemExit, naming the notebooks there are."""
    known = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*/*.ipynb"))}
    path = Path(name) if Path(name).is_file() else known.get(Path(name).stem)
    if path is None:
        raise SystemExit(f"there is no {name}; try make run NOTEBOOK= with a path, or with one of {', '.join(known)}")
    return path.resolve()


def run(path, out=OUT):
    """Execute the notebook; write it with its outputs into a folder, as far as it came. Returns where it lies."""
    notebook = nbformat.read(path, as_version=4)
    total, started, heading = len(notebook.cells), time.perf_counter(), [""]

    def begin(cell, cell_index):
        lines = cell.source.splitlines()
        if cell.cell_type == "markdown":
            heading[0] = next((line.lstrip("# ") for line in lines if line.startswith("#")), heading[0])
        else:
            print(
                f"[{time.perf_counter() - started:4.0f} s] cell {cell_index + 1} of {total}: {heading[0]}", flush=True
            )

    client = Shown(
        notebook,
        timeout=None,
        kernel_name="python3",
        on_cell_start=begin,
        resources={"metadata": {"path": path.parent}},
    )
    target = out / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, target)
    print(f"[{time.perf_counter() - started:4.0f} s] done: {target}")
    return target


def main():
    if len(sys.argv) != 2:
        raise SystemExit("name one notebook: make run NOTEBOOK=notebooks/vae/vae_2d.ipynb")
    try:
        run(find(sys.argv[1]))
    except CellExecutionError as error:
        raise SystemExit(f"stopped: {error.ename}: {error.evalue}\nas far as it came: {OUT}") from None


if __name__ == "__main__":
    main()
