"""Light, self-contained assets: nothing comes from a network, and a page loads only what it uses.

- MathJax: its fonts; the formulas are set in the pages.
- Images of notebooks: the same pixels as lossless WebP, a fraction of the PNG.
- Style sheets: one file for all pages, without the rules for classes that no page or script mentions.
- Icon fonts: the glyphs that the style sheet names.
"""

import hashlib
import logging
import posixpath
import re
from io import BytesIO
from pathlib import Path

import tinycss2
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.transforms.post_transforms import SphinxPostTransform

logging.getLogger("fontTools").setLevel(logging.WARNING)
STYLESHEET = re.compile(r'<link [^>]*?href="(?P<href>[^"]+\.css)(\?[^"]*)?"[^>]*?/>\s*')
LOCAL_URL = re.compile(r"""url\(\s*(["']?)(?!data:|https?:|//|#)([^"')?#]+)[^"')]*\1\s*\)""")
IMPORT = re.compile(r"""@import\s+["'](?!https?:|//)([^"'?]+)[^"']*["']\s*;""")
COMMENT = re.compile(r"/\*.*?\*/|^[ \t]*//[^\n]*", re.DOTALL | re.MULTILINE)
SAID = re.compile(r""""((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`([^`]*)`""")  # the strings of a script
BOOTSTRAP = re.compile(r"(show|hid|fade|active|disabled|drop|tooltip|nav|bs-)")
ICON = re.compile(r"\\(f[0-9a-f]{3})\b|([\ue000-\uf8ff])")


def without(app, module):
    """Disconnect a module from every event."""
    for listeners in app.events.listeners.values():
        for listener in [one for one in listeners if one.handler.__module__ == module]:
            app.disconnect(listener.id)


def self_contained(app, config):
    """Leave out what would ask for a network, and MathJax, whose work is done when the site is built.

    Jupyter Book always loads thebe, whose script comes from a CDN (and is inserted twice, an error in the console).
    """
    without(app, "sphinx_thebe")
    app.registry.css_files[:] = [css for css in app.registry.css_files if css[0] != "sphinx-thebe.css"]
    without(app, "sphinx-mathjax-offline")
    without(app, "sphinx.ext.mathjax")


class LighterImages(SphinxPostTransform):
    """Show the PNG images that notebooks hold as lossless WebP, kept from build to build under the image's own name."""

    default_priority = 150  # before Sphinx chooses among an image's formats
    formats = ("html",)

    def run(self, **kwargs):
        store = Path(self.app.doctreedir).parent / "jupyter_execute"
        for node in self.document.findall(nodes.image):
            path = (Path(self.env.srcdir) / node["uri"]).resolve()
            if path.suffix == ".png" and path.parent == store.resolve():
                lighter = path.with_suffix(".webp")
                if not lighter.exists():
                    lighter.write_bytes(webp(path))
                self.env.images.add_file(self.env.docname, str(lighter))
                node["uri"], node["candidates"] = str(lighter), {"*": str(lighter)}


def webp(path):
    """The pixels of an image file as lossless WebP."""
    content = BytesIO()
    with Image.open(path) as image:
        image.save(content, "WEBP", lossless=True, method=4, quality=60)
    return content.getvalue()


def selectors(prelude):
    """The selectors of a rule, each as its tokens and the tags, classes and ids that must be on a page for it."""
    found, tokens, need, before = [], [], set(), None
    for token in [*prelude, None]:
        if token is None or token == ",":
            found.append((tokens, need))
            tokens, need, before = [], set(), None
            continue
        if token.type == "hash" or (token.type == "ident" and before == "."):
            need.add(token.value)
        elif token.type == "ident" and before != ":":
            need.add(token.lower_value)
        tokens.append(token)
        before = token
    return found


def declarations(content, variables):
    """The declarations of a rule as CSS text, without those of variables that nothing asks for."""
    parts, part = [], []
    for token in [*content, None]:
        if token is None or token == ";":
            name = next((t.value for t in part if t.type not in ("whitespace", "comment")), "")
            if name and (variables is None or not name.startswith("--") or name in variables):
                says, _, value = tinycss2.serialize(part).partition(":")
                value = re.sub(r"\s*\n\s*", " ", value.strip()) or " "
                parts.append(f"{says.strip()}:{value}")
            part = []
        else:
            part.append(token)
    return ";".join(parts)


def purge(rules, used, variables=None):
    """CSS text of the rules that can apply where only the tags, classes and ids ``used`` occur.

    Of variables only those in ``variables`` are kept, or all.
    """
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            alive = [tinycss2.serialize(tokens).strip() for tokens, need in selectors(rule.prelude) if need <= used]
            says = alive and declarations(rule.content, variables)
            if says:
                kept.append(f"{','.join(alive)}{{{says}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports", "layer") and rule.content:
            inner = purge(tinycss2.parse_rule_list(rule.content, True, True), used, variables)
            if inner:
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword != "charset":
            kept.append(rule.serialize())
    return "\n".join(kept)


def words_used(out):
    """Every tag, class and id of a page, and every word of a script, which may be the name of one."""
    used, toggles = set(), set()
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf8")
        used.update(tag.lower() for tag in re.findall(r"<([a-zA-Z][\w-]*)", text))
        used.update(re.findall(r'\bid="([^"]*)"', text))
        toggles.update(re.findall(r'\bdata-bs-toggle="([^"]*)"', text))
        for classes in re.findall(r'\bclass="([^"]*)"', text):
            used.update(classes.split())
        for script in re.findall(r"<script\b[^>]*>(.*?)</script>", text, re.DOTALL):
            used.update(re.findall(r"[\w-]+", script))
    for script in out.rglob("*.js"):
        if script.name not in ("fontawesome.js", "searchindex.js"):
            said = " ".join(
                "".join(found) for found in SAID.findall(COMMENT.sub("", script.read_text(encoding="utf8")))
            )
            words = set(re.findall(r"[\w-]+", said))
            if script.name == "bootstrap.js" and toggles <= {"tooltip", "dropdown"}:  # of its many components
                words = {word for word in words if BOOTSTRAP.match(word)}
            used.update(words)
    return used


def variables_used(out, css):
    """Names of the CSS variables that a style sheet, a page or a script asks for."""
    asked = set(re.findall(r"var\(\s*(--[\w-]+)", css))
    own = [path for path in out.rglob("*.css") if path.relative_to(out).parts[0] != "_static"]
    for path in [*out.rglob("*.html"), *own]:
        asked.update(re.findall(r"var\(\s*(--[\w-]+)", path.read_text(encoding="utf8")))
    for path in out.rglob("*.js"):
        if path.name != "searchindex.js":
            asked.update(re.findall(r"(?<![\w-])--[a-z][\w-]*", path.read_text(encoding="utf8")))
    return asked


def write_font(source, unicodes, folder, **options):
    """Write a font with these glyphs only into a folder, named after its content; return the name."""
    options = subset.Options(flavor="woff", notdef_outline=True, **options)
    options.drop_tables += ["FFTM"]  # a date, like that of saving: the same glyphs have the same name
    font, content = TTFont(source, recalcTimestamp=False), BytesIO()
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=unicodes)
    subsetter.subset(font)
    font.flavor = "woff"
    font.save(content, reorderTables=False)
    name = f"{source.stem}.{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.woff"
    (folder / name).write_bytes(content.getvalue())
    return name


def fewer_icons(css, static):
    """Let each icon font hold the glyphs that the style sheet names, instead of thousands."""
    named = [int(code, 16) if code else ord(glyph) for code, glyph in ICON.findall(css)]

    def lighter(match):
        font = static / match[2]
        if "fontawesome" not in match[2] or font.suffix != ".woff2":
            return match[0]
        return f"url({write_font(font.with_suffix('.ttf'), named, static, layout_features=[])})"

    css = LOCAL_URL.sub(lighter, css).replace('.woff) format("woff2")', '.woff) format("woff")')
    return re.sub(r',\s*url\([^)]*\.ttf\)\s*format\("truetype"\)', "", css)


def read_sheet(static, sheet):
    """A style sheet with those that it imports, its addresses relative to the folder ``static``."""
    folder = posixpath.dirname(posixpath.relpath(posixpath.normpath(sheet.as_posix()), static.as_posix()))
    css = sheet.read_text(encoding="utf8")
    css = LOCAL_URL.sub(lambda m: f"url({posixpath.normpath(posixpath.join(folder, m[2]))})", css)
    return IMPORT.sub(lambda m: read_sheet(static, sheet.parent / m[1]), css)


def bundle(out, sheets):
    """Write one style sheet in place of several, given by their paths in the output folder; return its path."""
    static, used = out / "_static", words_used(out)
    read = [tinycss2.parse_stylesheet(read_sheet(static, static / ".." / sheet), True, True) for sheet in sheets]
    css, before = "\n".join(purge(rules, used) for rules in read), ""
    while css != before:  # a variable may be asked for by one that nothing asks for
        before, css = css, purge(tinycss2.parse_stylesheet(css, True, True), used, variables_used(out, css))
    css = fewer_icons(css, static)
    name = f"book.{hashlib.sha256(css.encode()).hexdigest()[:8]}.css"
    for old in static.glob("book.*.css"):
        old.unlink()
    (static / name).write_text(css, encoding="utf8")
    return f"_static/{name}"
