"""What every notebook does with its numbers: a mean with its error, a table, the record of a benchmark."""

import json
import math
from pathlib import Path

import torch


def mean_and_error(values):
    """Mean of N values, and its standard error, as floats. Raises ValueError for fewer than two values."""
    values = torch.as_tensor(values)
    if values.numel() < 2:
        raise ValueError(f"a standard error needs at least two values, got {tuple(values.shape)}")
    return float(values.mean()), float(values.std() / math.sqrt(values.numel()))


def table(header, rows):
    """Show a table of strings in a notebook, the first column to the left and the others to the right."""
    from IPython.display import Markdown, display

    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"expected rows of {len(header)} cells as in the header, got {row}")
    lines = [list(header), ["---"] + ["---:"] * (len(header) - 1), *rows]
    display(Markdown("\n".join("| " + " | ".join(cells) + " |" for cells in lines)))


def benchmark_record(name):
    """What ``make bench`` last stored in ``benchmarks/<name>.json``, as a dict. Raises FileNotFoundError without it."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; run `make bench`, or take it from the repository")
    return json.loads(path.read_text())
