"""Light pages by Sphinx's own means: one style sheet, scripts that wait, images with a size that are fetched when near.

What each earns on a phone (Lighthouse) is told in book/contributing.md.
"""

import posixpath
import re
from pathlib import Path
from urllib.parse import quote

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

SHEET = "book.css"  # in the folder _static
THEME = ["styles/theme.css", "styles/pydata-sphinx-theme.css"]  # the template webpack-macros.html leaves them to us
URL = re.compile(r"""url\(["']?(?!data:|https?:|#)([^"')]+)["']?\)""")
# where the browser refuses to store anything, the theme's scripts would stop with an error
STORAGE = """<script>try { localStorage.getItem(''); } catch {
  const kept = new Map();
  Object.defineProperty(window, 'localStorage', { value: {
    getItem: key => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, String(value)),
    removeItem: key => kept.delete(key),
  } });
}</script>
"""
# the theme says "auto" until its script runs, and all is styled twice; data-lazy is for dgm.css and page.js
EARLY = """(({ dataset }) => {
  if (dataset.mode === 'auto') dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  if (!location.hash && !location.search) dataset.lazy = '';
})(document.documentElement);"""


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


def visit_fold(self, node):
    """MyST-NB's own says "Toggle hidden content" over the words of its button, which speech control listens for."""
    self.body.append(f'<details class="admonition hide {" ".join(node["classes"])}">\n<summary>\n')
    for state in ("show", "hide"):
        name = {"show": "collapsed", "hide": "expanded"}[state]
        self.body.append(f'<p class="{name} admonition-title">{self.encode(node[f"prompt_{state}"])}</p>\n')
    self.body.append("</summary>\n")


def visit_citation(self, node):
    """Docutils' own has a role that is out of use, in a list of none such."""
    previous = node.previous_sibling()
    self.body.append("" if isinstance(previous, nodes.citation) else '<div class="citation-list">\n')
    self.body.append(self.starttag(node, "div", classes=["citation"]))


def lighten(app, pagename, templatename, context, doctree):
    """One style sheet; scripts from files that wait; nothing of thebe's, whose script comes from a network."""
    if app.builder.name != "html":
        return
    sheets = [sheet.filename.removeprefix("_static/") for sheet in context["css_files"]]
    app.sheets = list(dict.fromkeys([*getattr(app, "sheets", THEME), *(s for s in sheets if "thebe" not in s)]))
    context["css_files"] = []
    scripts = [one for one in context["script_files"] if "thebe" not in f"{one.filename} {one.attributes}".lower()]
    at_once = {"documentation_options.js", *(["doctools.js"] if pagename == "search" else [])}  # what others start with
    context["script_files"] = []
    for one in scripts:
        waits = one.filename and Path(one.filename).name not in at_once and "async" not in one.attributes
        later = {"defer": "defer"} if waits else {}  # in their order, once the page is there
        context["script_files"].append(type(one)(one.filename, priority=one.priority, **one.attributes | later))
    context["metatags"] = STORAGE + context.get("metatags", "")  # before the theme's scripts


def read_sheet(static, sheet):
    """A style sheet with those that it imports, its addresses relative to the folder ``static``."""
    folder = posixpath.dirname(sheet)
    css = (static / sheet).read_text(encoding="utf8")
    css = re.sub(r'@import "([^"]+)";', lambda m: read_sheet(static, posixpath.normpath(f"{folder}/{m[1]}")), css)
    return URL.sub(lambda m: f"url({posixpath.normpath(posixpath.join(folder, m[1]))})" if folder else m[0], css)


def finish(app, exception):
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    (out / "_static" / SHEET).write_text("\n".join(read_sheet(out / "_static", s) for s in app.sheets), encoding="utf8")
    home = app.builder.get_target_uri(app.config.root_doc)
    text = (out / home).read_text(encoding="utf8").replace("<head>", f'<head><base href="{home}" />', 1)
    if "<base" not in text:
        raise ExtensionError("the landing page has no <head>")
    (out / "index.html").write_text(text, encoding="utf8")  # Jupyter Book would send on to it, one more wait


def setup(app):
    app.add_post_transform(LightImages)
    app.add_node(nodes.image, override=True, html=(visit_image, None))
    app.add_node(nodes.citation, override=True, html=(visit_citation, HTML5Translator.depart_citation))
    app.add_node(
        HideCodeCellNode, override=True, html=(visit_fold, lambda self, node: self.body.append("</details>\n"))
    )
    app.add_js_file(None, body=EARLY, priority=100)
    app.add_js_file("page.js", loading_method="defer")
    app.connect("html-page-context", lighten, priority=950)  # after those that add what is joined or left out here
    app.connect("build-finished", finish, priority=900)  # after the files to join are written
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
