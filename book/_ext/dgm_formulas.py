"""Formulas are set when the site is built, by MathJax in the Node that Playwright brings: a page needs no script for
them, shows them at once, and does not move. Screen readers find each as MathML beside what is drawn."""

import html
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

MATH = r'class="(?:[^"]* )?math notranslate nohighlight"'  # of a page, or of an output in LaTeX
FORMULA = re.compile(
    rf'(?P<open><(?P<tag>span|div) {MATH}[^>]*>(?:\s*<span class="eqno">.*?</span>)?)\s*'
    r"\\(?P<kind>[(\[])(?P<tex>.*?)\\[)\]]\s*(?P<close></(?P=tag)>)",
    re.DOTALL,
)
FONTS = "mathjax"  # in the folder _static


def mathjax_folder():
    return Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"


def node():
    """The Node in Playwright's package. Raises ExtensionError without it."""
    driver = Path(find_spec("playwright").origin).parent / "driver"
    found = shutil.which("node", path=driver)
    if not found:
        raise ExtensionError(f"no node in {driver}; install the pinned playwright")
    return found


def typeset(formulas, macros):
    """MathJax's HTML of each formula, given as ``(tex, display)``, and the style sheet of all.

    Raises ExtensionError if MathJax fails, or finds an error in a formula, which is named.
    """
    job = {
        "mathjax": str(mathjax_folder()),
        "macros": macros,
        "fonts": FONTS,
        "formulas": [{"tex": tex, "display": display} for tex, display in formulas],
    }
    script = Path(__file__).with_name("formulas.cjs")
    ran = subprocess.run([node(), script], input=json.dumps(job), capture_output=True, encoding="utf8")
    if ran.returncode:
        raise ExtensionError(f"MathJax could not run: {ran.stderr.strip()[-2000:]}")
    answer = json.loads(ran.stdout)
    wrong = [
        f"{message}: {tex}"
        for (tex, _), drawn in zip(formulas, answer["html"], strict=True)
        for message in re.findall(r'data-mjx-error="([^"]*)"', drawn)
    ]
    if wrong:
        raise ExtensionError("formulas with errors:\n" + "\n".join(wrong))
    return answer["html"], answer["css"]


def set_formulas(pages, macros):
    """The pages, ``{name: HTML}``, with every formula set, and the style sheet of the formulas.

    Raises ExtensionError if something marked as a formula is none, besides what ``typeset`` raises.
    """
    lost = [
        name
        for name, text in pages.items()
        if len(re.findall(MATH, text)) != len(FORMULA.findall(text)) + text.count("<mjx-math")
    ]
    if lost:
        raise ExtensionError(f"formulas that are not between the delimiters of Sphinx, in {', '.join(lost)}")
    found = {key(match): None for text in pages.values() for match in FORMULA.finditer(text)}
    drawn, css = typeset(list(found), macros)
    found = dict(zip(found, drawn, strict=True))
    return {
        name: FORMULA.sub(lambda m: m["open"] + found[key(m)] + m["close"], text) for name, text in pages.items()
    }, css


def key(match):
    return html.unescape(match["tex"]).strip(), match["kind"] == "["


def copy_fonts(app):
    fonts = mathjax_folder() / "output" / "chtml" / "fonts" / "woff-v2"
    copy_asset(fonts, Path(app.outdir) / "_static" / FONTS)
