"""The status page's table: which notebook ran when, for how long, on what and with which versions."""

import json
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

STATUS = Path("notebooks") / "status.json"


def minutes(seconds):
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def status_rows(status, titles):
    """Markdown table rows, one for each notebook ordered as ``titles``. Raises LookupError for one without entry."""
    missing = [name for name in titles if f"{name}.ipynb" not in status]
    if missing:
        raise LookupError(f"not in {STATUS}: {', '.join(missing)}; run `make execute` on them")
    rows = ["| Notebook | Executed | Elapsed | Processor | torch |", "|---|---|---:|---:|---|"]
    for name, title in titles.items():
        entry = status[f"{name}.ipynb"]
        elapsed, used = minutes(entry["seconds"]), minutes(entry["processor_seconds"])
        title += ", with training" if entry["trained"] else ""
        torch = entry["versions"]["torch"]
        rows.append(f"| [{title}](/{name}.ipynb) | {entry['date']} | {elapsed} | {used} | {torch} |")
    return rows


def machine_lines(status, titles):
    """One sentence for each machine and set of versions that executed the notebooks, with the number of notebooks."""
    groups = {}
    for name in titles:
        entry = status[f"{name}.ipynb"]
        versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
        groups.setdefault(f"{entry['device']}; {versions}", []).append(entry["processor_seconds"])
    return [
        f"- {len(taken)} notebook{'s' * (len(taken) > 1)}, {minutes(sum(taken))} of processor time in all, on {what}."
        for what, taken in groups.items()
    ]


class NotebookStatus(SphinxDirective):
    """The table of all notebooks in the table of contents, read from notebooks/status.json."""

    def run(self):
        path = Path(self.env.srcdir) / STATUS
        self.env.note_dependency(str(path))
        names = [name for name in self.env.external_site_map if name.startswith("notebooks/")]
        try:
            status = json.loads(path.read_text(encoding="utf8"))
            titles = {name: self.title(name) for name in names}
            lines = [*status_rows(status, titles), "", *machine_lines(status, titles)]
        except (OSError, ValueError, LookupError) as problem:
            raise self.error(f"notebook-status: {problem}") from None
        return self.parse_text_to_nodes("\n".join(lines))

    def title(self, name):
        """The first heading of a notebook."""
        notebook = json.loads((Path(self.env.srcdir) / f"{name}.ipynb").read_text(encoding="utf8"))
        first = "".join(notebook["cells"][0]["source"]).splitlines()[0]
        return first.removeprefix("# ")


def setup(app):
    app.add_directive("notebook-status", NotebookStatus)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
