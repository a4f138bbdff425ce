"""What moved when notebooks were trained afresh: the numbers that they glue, before and after, as Markdown.

    python tools/moved.py --trainable      the notebooks whose stored trainings all ran on a processor, as JSON
    python tools/moved.py FOLDER           compare the trained notebooks in FOLDER with those of this checkout

The weekly workflow makes an issue of it. A notebook that is not in FOLDER did not end, or a check of it failed.
"""

import ast
import json
import sys
from pathlib import Path

import digests

ROOT = Path(__file__).resolve().parent.parent
RECORD = "application/papermill.record/text/plain"
LEAST, SMALL = 0.01, 1e-4  # a number has moved from this relative change on; below SMALL it is relative to that
ROWS = 200  # GitHub takes no issue that is much longer


def trainable(root=ROOT):
    """Paths of the notebooks that load stored trainings, none of which ran on a graphics card."""
    found = []
    for name, entry in digests.read(root / "notebooks" / "digests.json").items():
        devices = {digests.history(root / "weights" / file).get("device", "cpu") for file in entry["weights"]}
        if devices == {"cpu"}:
            found.append(name)
    return found


def glued(path):
    """{name: number or string} of what a notebook stores for the pages to quote."""
    outputs = [o for cell in json.loads(path.read_text(encoding="utf8"))["cells"] for o in cell.get("outputs", ())]
    records = [o for o in outputs if RECORD in o.get("data", {})]
    return {o["metadata"]["scrapbook"]["name"]: ast.literal_eval("".join(o["data"][RECORD])) for o in records}


def change(before, after):
    """Relative to the larger of the two numbers, at most 2, as any change of a string or of what is there once."""
    if before == after:
        return 0.0
    if isinstance(before, float) and isinstance(after, float):
        return abs(after - before) / max(abs(before), abs(after), SMALL)
    return 2.0


def moved(before, after):
    """(change, name, before, after) of what moved between two dicts of ``glued``, the largest change first."""
    names = sorted(before.keys() | after.keys())
    names = [
        name for name in names if f"{name}_value" not in before
    ]  # an Estimate: its numbers are there by themselves
    pairs = [(change(before.get(name), after.get(name)), name, before.get(name), after.get(name)) for name in names]
    return sorted((pair for pair in pairs if pair[0] >= LEAST), key=lambda pair: -pair[0])


def shown(value):
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def report(names, folder, root=ROOT):
    """Markdown lines; none if nothing moved."""
    files = {path.name: path for path in folder.rglob("*.ipynb")}
    lost = [name for name in names if Path(name).name not in files]
    rows, numbers = [], 0
    for name in names:
        if name not in lost:
            before, after = glued(root / name), glued(files[Path(name).name])
            numbers += len(before)
            stem = Path(name).stem
            rows += [
                (size, f"| {stem} | {key} | {shown(old)} | {shown(new)} | {100 * size:.1f} % |")
                for size, key, old, new in moved(before, after)
            ]
    lines = [f"- {name} did not end, or a check failed in it" for name in lost]
    if rows:
        rows.sort(key=lambda row: -row[0])
        lines += ["", f"{len(rows)} of {numbers} glued values moved by {100 * LEAST:g} % or more.", ""]
        lines += ["| Notebook | Name | Stored | Trained afresh | Change, of the larger |", "|---|---|---:|---:|---:|"]
        lines += [row for _, row in rows[:ROWS]]
        lines += ["", f"And {len(rows) - ROWS} more."] if len(rows) > ROWS else []
    return lines


def main():
    if sys.argv[1:] == ["--trainable"]:
        print(json.dumps(trainable()))
    elif len(sys.argv) == 2:
        print("\n".join(report(trainable(), Path(sys.argv[1]))), end="")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
