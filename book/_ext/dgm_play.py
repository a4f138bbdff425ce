"""The interactive pages of ``book/play``: what they compute with is written at every build, from the stored weights."""

import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.errors import ExtensionError


def finish(app, exception):
    """Put the assets, the scripts and the style sheet beside the pages: no other page loads them."""
    if app.builder.name != "html" or exception:
        return
    source, target = Path(app.srcdir) / "book" / "play", Path(app.outdir) / "book" / "play"
    command = [sys.executable, Path(app.srcdir) / "tools" / "play_assets.py", target]
    written = subprocess.run(command, capture_output=True, text=True)
    if written.returncode:
        raise ExtensionError(f"the assets of book/play were not written: {written.stderr}")
    for path in [*source.glob("*.js"), *source.glob("*.css")]:
        shutil.copy(path, target)


def setup(app):
    app.connect("build-finished", finish)  # before pages are finished with what is common to all
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
