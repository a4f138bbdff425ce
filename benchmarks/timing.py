"""Timing of two ways side by side."""

import json
import os
import time
from pathlib import Path

import torch


def seconds(work):
    """Wall-clock seconds of one call, the GPU's queue included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turn(*ways, repeats=3):
    """Call the ways in turn, ``repeats`` times, after one warm-up each; return the median seconds of each."""
    for work in ways:
        work()
    rounds = [[seconds(work) for work in ways] for _ in range(repeats)]
    return [sorted(column)[repeats // 2] for column in zip(*rounds, strict=True)]


def clock(model):
    """For ``fit(evaluate=...)``: the time, with the GPU's queue empty."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"clock": time.perf_counter()}


def epoch_seconds(train, epochs=1):
    """Seconds of an epoch of ``train(epochs=..., evaluate=..., evaluate_at=...) -> History``, the first left out.

    In the first epoch parts are compiled and the step is recorded, once for a run of any length.
    """
    before, after = train(epochs=1 + epochs, evaluate=clock, evaluate_at=[1, 1 + epochs]).column("clock")
    return (after - before) / epochs


def machine():
    """What the numbers of a record were measured on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} CPU thread(s) of {os.cpu_count()} cores, torch {torch.__version__}"


def gpu_memory():
    """GiB of GPU memory that this program has reserved at most so far; 0 without a GPU."""
    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0


def write_record(file, record):
    """Store a benchmark's numbers beside its source, those of a GPU apart; the book quotes them."""
    path = Path(file).with_suffix(".gpu.json" if torch.cuda.is_available() else ".json")
    path.write_text(json.dumps(record | {"where": machine()}, indent=1) + "\n")


def matmul_rate(device, size=2048, repeats=20):
    """The machine's own float32 matrix-product rate, in floating-point operations per second."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    (took,) = in_turn(lambda: [a @ b for _ in range(repeats)])
    return 2 * size**3 * repeats / took


def print_table(title, rows):
    """Print rows of cells (the first is the header) in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(title)
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
