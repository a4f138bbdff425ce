"""Tables of which notebook ran when and for how long, written at every build from the records in ``notebooks``."""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import status_tables

TABLES = {
    "notebook-status": status_tables.notebook_status,
    "notebook-durations": status_tables.notebook_durations,
    "gpu-benchmarks": status_tables.gpu_benchmarks,
}


class RecordTable(SphinxDirective):
    """The table that the directive's name says, of the notebooks in the table of contents."""

    def run(self):
        names = [name for name in self.env.external_site_map if name.startswith("notebooks/")]
        try:
            lines = TABLES[self.name](Path(self.env.srcdir), names)
        except (OSError, ValueError, LookupError) as problem:
            raise self.error(f"{self.name}: {problem}") from None
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    for name in TABLES:
        app.add_directive(name, RecordTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
