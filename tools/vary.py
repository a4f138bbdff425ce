"""Change one setting of a notebook, run it to its end, and tell what breaks.

    python tools/vary.py                              every change of every notebook
    python tools/vary.py --only SEED,data notebooks/vae/vae_2d.ipynb ...
    python tools/vary.py --images 600 ...             the same, quickly: on the first 600 images

The changes: every number in the settings, halved and doubled; the seed, plus one; the data, each image turned. Every
training is cut to two epochs. What came of each change goes to ``_build/vary/<notebook>.json``; no notebook changes.
"""

import argparse
import ast
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "_build" / "vary"
WAYS = {"half": 0.5, "double": 2}
UNIT = {"LEVEL", "ALPHA", "P_EDGE", "RELIABILITY", "CORRELATION", "RHO"}  # below 1: half the distance from 0, or from 1
FIXED = {  # what has no half and no double, with the reason
    "ORDERS": "permutations of the pixels",
    "EDGES": "a graph's nodes",
    "WEIGHTS": "probabilities, whose sum is 1",
    "SIDE": "the number of pixels",
    "BORDER": "the number of pixels",
}
PRELUDE = '''
import importlib, numbers, os, sys
import torch
sys.path.insert(0, {root!r})

def vary(value, factor, unit=False):
    """A setting's numbers, halved or doubled; whole ones stay whole, and at least 1 if they were."""
    if isinstance(value, bool) or isinstance(value, str):
        return value
    if isinstance(value, torch.Tensor):
        least = 0 if value.is_floating_point() else value.clamp(max=1)
        scaled = (value * factor).to(value.dtype)
        return scaled if value.is_floating_point() else torch.maximum(scaled, least)
    if isinstance(value, dict):
        return {{k: vary(v, factor, unit) for k, v in value.items()}}
    if isinstance(value, range):
        return range(value.start, vary(value.stop, factor), value.step)
    if isinstance(value, (list, tuple)):
        return type(value)(vary(v, factor, unit) for v in value)
    if isinstance(value, int):
        return max(int(value * factor), min(value, 1))
    if isinstance(value, numbers.Number):
        if unit:
            return value / 2 if factor < 1 else 1 - (1 - value) / 2
        return value * factor
    return value

_fit = importlib.import_module("dgm_helpers.training.fit")
_loop = _fit.train_loop
_fit.train_loop = lambda num_epochs, *rest: _loop(min(num_epochs, 2), *rest)
_data = importlib.import_module("dgm_helpers.data")
_load = _data.load_mnist

def load_mnist(*arguments, **options):
    mnist = _load(*arguments, **options)
    images, turn = {images}, {turn}
    parts = []
    for grey, labels in (mnist[:2], mnist[2:]):
        grey = grey.unflatten(1, (28, 28)).mT.flatten(1) if turn else grey
        parts += [grey[:images].clone(), labels[:images].clone()]
    return type(mnist)(*parts)

_data.load_mnist = load_mnist
'''


def names_of(target):
    """The names in capitals that an assignment sets."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [part.id for part in parts if isinstance(part, ast.Name) and part.id.isupper()]


def numeric(value):
    """Whether an expression holds numbers, and follows from no other setting."""
    nodes = list(ast.walk(value))
    found = (n.value for n in nodes if isinstance(n, ast.Constant))
    derived = any(isinstance(n, ast.Name) and n.id.isupper() for n in nodes)
    return not derived and any(isinstance(n, (int, float)) and not isinstance(n, bool) for n in found)


def settings(notebook):
    """The settings cell, and {name: last line of its assignment} of its numbers."""
    for cell in [c for c in notebook.cells if c.cell_type == "code"][1:]:  # the first is the set-up
        found = {}
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign) and numeric(node.value):
                found |= dict.fromkeys(names_of(node.targets[0]), node.end_lineno)
        if found:
            return cell, found
    raise ValueError("no settings cell")


def changes(notebook):
    """(name, way) of every change that this notebook allows."""
    _, found = settings(notebook)
    for name in found:
        if name.startswith("SEED"):
            yield name, "plus one"
        elif name not in FIXED:
            yield from ((name, way) for way in WAYS)
    if any("load_mnist(" in cell.source for cell in notebook.cells):
        yield "data", "turned"


def changed(notebook, name, way, images):
    """The notebook with one change, and the prelude that cuts its trainings."""
    cell, found = settings(notebook)
    prelude = PRELUDE.format(root=str(ROOT), images=images, turn=name == "data")
    if name in found:
        lines = cell.source.split("\n")
        if way == "plus one":
            new = f"{name} = {name} + 1 if isinstance({name}, int) else tuple(s + 1 for s in {name})"
        else:
            new = f"{name} = vary({name}, {WAYS[way]}, {name in UNIT})"
        lines.insert(found[name], new)
        cell.source = "\n".join(lines)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(prelude))
    return notebook


def breaks(notebook):
    """What went wrong, by cell (counted as in the file); and how many of the book's facts were told."""
    wrong, told = {}, 0
    for number, cell in enumerate(notebook.cells, -1):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                wrong[number] = f"{output.ename}: {output.evalue}"
            told += output.get("text", "").count("✗") if output.get("name") == "stdout" else 0
    return wrong, told


def run(path, name, way, images, limit):
    """One change: {"seconds", "wrong": {cell: error}, "told"}. Errors that only follow from others are left out."""
    notebook = changed(nbformat.read(path, as_version=4), name, way, images)
    client = NotebookClient(
        notebook, timeout=limit, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": path.parent}}
    )
    own = {"DGM_CACHE_DIR": str(OUT / "cache"), "DGM_RETRAIN": "auto", "CI": ""}
    started = time.perf_counter()
    stopped = {}
    try:
        client.execute(env=os.environ | own)
    except (CellTimeoutError, DeadKernelError) as error:
        stopped = {"-1": f"{type(error).__name__} after {limit} s"}
    wrong, told = breaks(notebook)
    missing = {n: e for n, e in wrong.items() if e.startswith("NameError")}
    first = {n: e for n, e in wrong.items() if n not in missing or len(missing) == len(wrong)}
    plain = {str(n): re.sub(r"\x1b\[[0-9;]*m", "", e)[:400] for n, e in first.items()}
    return {"seconds": round(time.perf_counter() - started), "wrong": plain | stopped, "told": told}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*/*.ipynb")))
    parser.add_argument("--only", help="names of settings, or data, with commas between them")
    parser.add_argument("--images", type=int, help="of MNIST, as many of each split")
    parser.add_argument("--limit", type=int, default=1200, help="seconds for one cell")
    arguments, broken = parser.parse_args(), 0
    OUT.mkdir(parents=True, exist_ok=True)
    for path in arguments.notebooks:
        kept, record = OUT / f"{path.stem}.json", {}
        if kept.exists():
            record = json.loads(kept.read_text(encoding="utf8"))
        for name, way in changes(nbformat.read(path, as_version=4)):
            if arguments.only and name not in arguments.only.split(","):
                continue
            came = record[f"{name} {way}"] = run(path, name, way, arguments.images, arguments.limit)
            kept.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
            broken += bool(came["wrong"])
            told = f", {came['told']} of the book's facts told" if came["told"] else ""
            print(f"{path.stem}: {name} {way}: {came['seconds']} s, {len(came['wrong'])} wrong{told}", flush=True)
            for number, error in came["wrong"].items():
                print(f"    cell {number}: {error.splitlines()[0][:200]}", flush=True)
    sys.exit(f"{broken} changes break a notebook" if broken else 0)


if __name__ == "__main__":
    main()
