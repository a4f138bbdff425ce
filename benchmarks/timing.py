"""Timing of two ways side by side."""

import time

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
