"""The last line of every notebook's first cell: its run time, as measured (notebooks/status.json).

python tools/run_times.py        # write the lines anew; tools/execute.py does so for what it executes
"""

import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATUS = ROOT / "notebooks" / "status.json"
LINE = re.compile(r"\n\nRun time: [^\n]*\Z")


def about(seconds):
    """A duration in words that do not change with every run: tens of seconds, or minutes."""
    if seconds < 45:
        return f"{max(10, 10 * round(seconds / 10))} seconds"
    minutes = max(1, round(seconds / 60))
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def run_time(entry):
    """The line for an entry of notebooks/status.json."""
    return (
        f"Run time: about {about(entry['processor_seconds'])} on one processor core. "
        "For graphics cards, and for training afresh, see [Run it yourself](../../book/running.md)."
    )


def state(path, entry):
    """Write the line into a notebook, and leave all else in it as it is."""
    notebook = json.loads(path.read_text(encoding="utf8"))
    first = notebook["cells"][0]
    text = LINE.sub("", "".join(first["source"])) + "\n\n" + run_time(entry)
    first["source"] = text.splitlines(keepends=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    os.replace(partial, path)


if __name__ == "__main__":
    for name, entry in json.loads(STATUS.read_text(encoding="utf8")).items():
        state(ROOT / name, entry)
