"""The book as a PDF: the parts of the table of contents, the site's mathematics macros, a title page."""

import re

from sphinx.writers.latex import LaTeXTranslator


def latex_macros(macros):
    r"""MathJax macros (``name: text`` or ``name: [text, number of arguments]``) as LaTeX definitions.

    ``\P`` is taken in LaTeX, and others may be: provide, then renew.
    """
    lines = []
    for name, value in macros.items():
        text, arguments = (value, 0) if isinstance(value, str) else value
        lines.append(rf"\providecommand{{\{name}}}{{}}\renewcommand{{\{name}}}[{arguments}]{{{text}}}")
    return "\n".join(lines)


# Sphinx leaves a number three digits of width beside a long text.
LAYOUT = r"""
\setlength{\tymin}{7em}
"""


UNNUMBERED = r"\setcounter{secnumdepth}{-1}"


def part_captions(site_map):
    """{first page of a part: the part's caption} of the table of contents."""
    return {tree.items[0]: tree.caption for tree in site_map.root.subtrees if tree.caption}


def whole_statements(tex):
    """LaTeX in which a link to a statement leads there and not to its section, and each proof's box has its title."""
    box = r"\\begin\{sphinxadmonition\}\{note\}"
    tex = re.sub(rf"(\\label\{{[^{{}}]*\}}\n{box})", r"\\phantomsection\1", tex)
    return re.sub(rf"({box})(\n\\sphinxAtStartPar\n)\\sphinxstyleemphasis\{{Proof\.\}} *", r"\1{Proof}\2", tex)


def chapter_number(env, docname):
    r"""LaTeX for the number that a page's ``\chapter`` gets: that of the site, or none; nothing for a run below a page.

    Sphinx takes the numbers of theorems from its table of contents, LaTeX those of figures and equations from its
    chapters, of which it would number every one.
    """
    if docname not in env.toctree_includes[env.config.root_doc]:
        return ""
    number = env.titles[docname].get("secnumber")
    if not number:
        return UNNUMBERED + "\n"
    return rf"\setcounter{{secnumdepth}}{{0}}\setcounter{{chapter}}{{{number[0] - 1}}}" + "\n"


class Parts(LaTeXTranslator):
    """Sphinx drops the captions of the table of contents; in a book they are its parts."""

    def visit_start_of_file(self, node):
        super().visit_start_of_file(node)
        caption = part_captions(self.builder.env.external_site_map).get(node["docname"])
        if caption:
            self.body.append(rf"\part{{{self.encode(caption)}}}" + "\n")
        self.body.append(chapter_number(self.builder.env, node["docname"]))

    def astext(self):
        return whole_statements(super().astext())


def prepare(app, config):
    macros = config.mathjax3_config["tex"]["macros"]
    config.latex_elements = {
        "preamble": r"\usepackage{amsmath,amssymb,mathtools}" + "\n" + latex_macros(macros) + LAYOUT + UNNUMBERED,
        # Sphinx would name the contents after the first part
        "tableofcontents": r"\renewcommand{\contentsname}{Contents}\sphinxtableofcontents",
        "figure_align": "H",  # figures stand where the text speaks of them
        "papersize": "a4paper",
        "extraclassoptions": "openany,oneside",
    } | config.latex_elements
    config.latex_domain_indices = False  # of the labels of theorems, which a reader never sees
    title = config.html_theme_options["logo"]["text"]
    config.latex_documents = [(config.root_doc, "book.tex", title, config.author, "manual")]


def use_parts(app):
    # not in setup: the theme extends its own HTML translator only while no other is registered
    if app.builder.name == "latex":
        app.set_translator("latex", Parts, override=True)


def setup(app):
    app.connect("builder-inited", use_parts)
    app.connect("config-inited", prepare, priority=900)  # the table of contents says first which page is the root
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
