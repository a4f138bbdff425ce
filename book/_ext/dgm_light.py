"""Light pages by Sphinx's own means: one style sheet, scripts that wait, images with a size that are fetched when near.

What each earns on a phone (Lighthouse) is told in book/contributing.md.
"""

import hashlib
import posixpath
import re
from pathlib import Path
from urllib.parse import quote

from docutils import nodes
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

THEME = ["styles/theme.css", "styles/pydata-sphinx-theme.css"]  # the template webpack-macros.html leaves them to us
URL = re.compile(r"""url\(["']?(?!data:|https?:|#)([^"')]+)["']?\)""")


class LightImages(SphinxPostTransform):
    """Images of notebooks as lossless WebP, a fraction of the PNG; every image's size in pixels is noted."""

    default_priority = 150  # before Sphinx chooses among an image's formats
    formats = ("html",)

    def run(self, **kwargs):
        stored = (Path(self.app.doctreedir).parent / "jupyter_execute").resolve()
        for i, node in enumerate(self.document.findall(nodes.image)):
            path = (Path(self.env.srcdir) / node["uri"]).resolve()
            with Image.open(path) as image:
                node["pixels"], node["near"] = image.size, i == 0
                if path.parent == stored:
                    path = path.with_suffix(".webp")
                    if not path.exists():
                        image.save(path, "WEBP", lossless=True, method=4, quality=60)
                    self.env.images.add_file(self.env.docname, str(path))
                    node["uri"], node["candidates"] = str(path), {"*": str(path)}


def visit_image(self, node):
    """Docutils writes sizes as a style, which would outrank the style sheet's ``height: auto``."""
    source = posixpath.join(self.builder.imgpath, quote(self.builder.images[node["uri"]]))
    width, height = node["pixels"]
    more = {} if node["near"] else {"loading": "lazy", "decoding": "async"}
    if "width" in node:
        more["style"] = f"width: {node['width']}"
    tag = self.emptytag(node, "img", "\n", src=source, alt=node.get("alt", ""), width=width, height=height, **more)
    self.body.append(tag)


def read_sheet(static, sheet):
    """A style sheet with those that it imports, its addresses relative to the folder ``static``."""
    folder = posixpath.dirname(sheet)
    css = (static / sheet).read_text(encoding="utf8")
    css = re.sub(r'@import "([^"]+)";', lambda m: read_sheet(static, posixpath.normpath(f"{folder}/{m[1]}")), css)
    return URL.sub(lambda m: f"url({posixpath.normpath(posixpath.join(folder, m[1]))})" if folder else m[0], css)


def lighten(app, pagename, templatename, context, doctree):
    """One style sheet; scripts from files that wait; nothing of thebe's, whose script comes from a network."""
    if app.builder.name != "html":
        return
    names = [sheet.filename.removeprefix("_static/") for sheet in context["css_files"]]
    sheets = [*THEME, *(name for name in names if "thebe" not in name)]
    if not hasattr(app, "sheets"):  # the first page; two extensions write their sheet, always the same, after the last
        there = [path for path in (Path(app.outdir, "_static", sheet) for sheet in sheets) if path.exists()]
        version = hashlib.sha256(b"".join([repr(sheets).encode(), *(path.read_bytes() for path in there)]))
        app.sheets, app.sheet = sheets, f"book.{version.hexdigest()[:8]}.css"
    if sheets != app.sheets:
        raise ExtensionError(f"{pagename} has style sheets of its own: {set(sheets) ^ set(app.sheets)}")
    context["css_files"] = [type(context["css_files"][0])(f"_static/{app.sheet}")]
    scripts = [one for one in context["script_files"] if "thebe" not in f"{one.filename} {one.attributes}".lower()]
    at_once = {"documentation_options.js", *(["doctools.js"] if pagename == "search" else [])}  # what others start with
    context["script_files"] = []
    for one in scripts:
        waits = one.filename and Path(one.filename).name not in at_once and "async" not in one.attributes
        later = {"defer": "defer"} if waits else {}  # in their order, once the page is there
        context["script_files"].append(type(one)(one.filename, priority=one.priority, **one.attributes | later))


def finish(app, exception):
    """Write the style sheet. Jupyter Book's index.html would send on to the landing page: it becomes that page."""
    if exception is None and app.builder.name == "html":
        static = Path(app.outdir) / "_static"
        (static / app.sheet).write_text("\n".join(read_sheet(static, one) for one in app.sheets), encoding="utf8")
        out, home = Path(app.outdir), app.builder.get_target_uri(app.config.root_doc)
        text = (out / home).read_text(encoding="utf8").replace("<head>", f'<head><base href="{home}" />', 1)
        if "<base" not in text:
            raise ExtensionError("the landing page has no <head>")
        (out / "index.html").write_text(text, encoding="utf8")


def setup(app):
    app.add_post_transform(LightImages)
    app.add_node(nodes.image, override=True, html=(visit_image, None))
    app.add_js_file("page.js", loading_method="defer")
    app.connect("html-page-context", lighten, priority=950)  # after those that add what is joined or left out here
    app.connect("build-finished", finish, priority=900)  # after the files to join are written
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
