"""What the book needs of Sphinx beyond its extensions: figures shared with notebooks, a description of each page."""

import base64
import hashlib
import html
import json
import os
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

IMAGE_TYPES = {"image/png": ".png", "image/jpeg": ".jpeg"}


def find_figure(notebook, name):
    """Return (cell, output data) of the figure that a cell's metadata names. Raises LookupError: what was missing."""
    named = {}
    for cell in notebook["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if "name" in figure:
            named[figure["name"]] = cell
    if name not in named:
        raise LookupError(f"no figure named '{name}' (there are: {', '.join(sorted(named)) or 'none'})")
    for output in named[name].get("outputs", []):
        if IMAGE_TYPES.keys() & output.get("data", {}).keys():
            return named[name], output["data"]
    raise LookupError(f"the cell of figure '{name}' has no stored image; execute the notebook")


class NotebookFigure(SphinxDirective):
    """Show an image stored in a notebook's outputs: the argument is ``path/of.ipynb#name-of-the-figure``.

    Caption and alt text are those of the cell's metadata; the directive's content, if any, is a caption of its own.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {
        "name": directives.unchanged,
        "width": directives.length_or_percentage_or_unitless,
        "alt": directives.unchanged,
    }

    def run(self):
        where, _, name = self.arguments[0].partition("#")
        relative, path = self.env.relfn2path(where)
        try:
            self.env.note_dependency(relative)
            cell, data = find_figure(json.loads(Path(path).read_text(encoding="utf8")), name)
            return [self.figure(cell["metadata"]["mystnb"], data)]
        except (OSError, ValueError, LookupError) as problem:
            raise self.error(f"notebook-figure: looked for '{name}' in {relative}: {problem}") from None

    def figure(self, metadata, data):
        alt = self.options.get("alt") or metadata.get("image", {}).get("alt")
        if not alt:
            raise LookupError("neither the cell's metadata nor the option gives an alt text")
        image = nodes.image(uri=self.store(data), alt=alt)
        if "width" in self.options:
            image["width"] = self.options["width"]
        figure = nodes.figure("", image, classes=["align-default"])
        lines = self.content or StringList([metadata["figure"].get("caption", "")], source=self.get_source_info()[0])
        if any(line.strip() for line in lines):
            parsed = nodes.Element()
            self.state.nested_parse(lines, self.content_offset, parsed)
            caption = nodes.caption("", "", *(child for block in parsed for child in block.children))
            figure += caption
        self.set_source_info(figure)
        self.add_name(figure)
        return figure

    def store(self, data):
        """Write the image where MyST-NB writes it, under the same name: the pages then share one file."""
        kind = next(kind for kind in IMAGE_TYPES if kind in data)
        content = base64.b64decode("".join(data[kind]))
        folder = Path(self.env.doctreedir).parent / "jupyter_execute"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (hashlib.sha256(content).hexdigest() + IMAGE_TYPES[kind])
        if not path.exists():
            path.write_bytes(content)
        return "/" + os.path.relpath(path.resolve(), self.env.srcdir).replace(os.sep, "/")


class TidyProofs(SphinxPostTransform):
    """sphinx-proof gives all statements of a page one id, which nothing refers to, and the word "Proof." no markup."""

    default_priority = 500

    def run(self, **kwargs):
        for node in self.document.findall(lambda n: isinstance(n, nodes.section) and n["ids"] == ["proof-content"]):
            node["ids"] = []
        for proof in self.document.findall(lambda n: isinstance(n, nodes.admonition) and n["ids"] == ["proof"]):
            proof["ids"] = []
            first = next(proof.findall(nodes.Text))
            if first.startswith("Proof. "):
                first.parent.replace(first, [nodes.emphasis("", "Proof."), nodes.Text(first[len("Proof.") :])])


def describe(doctree, least=60, most=160):
    """The first paragraph that says something in words, cut at a word; None if there is none."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if isinstance(paragraph.parent, nodes.section) and len(text) >= least and "\\" not in text:
            return text if len(text) <= most else text[:most].rsplit(" ", 1)[0].rstrip(",;:") + " …"
    return None


def add_description(app, pagename, templatename, context, doctree):
    """Give a page the meta description that it does not bring itself (``html_meta`` in its front matter)."""
    if 'name="description"' not in context.get("metatags", ""):
        text = doctree is not None and describe(doctree)
        text = html.escape(text or f"{context.get('title') or 'Search'}: {app.config.html_title}")
        context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{text}" />\n'


def setup(app):
    for extension in ("dgm_practice", "dgm_search", "dgm_math", "dgm_light", "dgm_play"):
        app.setup_extension(extension)
    app.add_directive("notebook-figure", NotebookFigure)
    app.add_post_transform(TidyProofs)
    app.add_css_file("dgm.css", priority=900)
    app.connect("html-page-context", add_description)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
