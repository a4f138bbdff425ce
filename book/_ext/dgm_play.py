"""The interactive pages of ``book/play``: what they compute with is written at every build, from the stored weights."""

import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.errors import ExtensionError


def start(app):
    """Begin to write the assets; it takes seconds, and the pages are read meanwhile."""
    if app.builder.name == "html":
        root = Path(app.srcdir)
        command = [sys.executable, root / "tools" / "play_assets.py", Path(app.outdir) / "book" / "play"]
        app.play_assets = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)


def finish(app, exception):
    """Put the scripts and the style sheet beside the pages: no other page loads them."""
    if app.builder.name != "html":
        return
    _, said = app.play_assets.communicate()
    if exception is None and app.play_assets.returncode:
        raise ExtensionError(f"the assets of book/play were not written: {said}")
    source, target = Path(app.srcdir) / "book" / "play", Path(app.outdir) / "book" / "play"
    for path in [*source.glob("*.js"), *source.glob("*.css")]:
        shutil.copy(path, target)


def setup(app):
    app.connect("builder-inited", start)
    app.connect("build-finished", finish)  # before pages are finished with what is common to all
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
