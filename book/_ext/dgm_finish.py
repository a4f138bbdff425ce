"""Finish the pages that Sphinx has written: formulas, one style sheet, scripts that wait, images with a size, honest
labels."""

import posixpath
import re
from pathlib import Path

import dgm_assets
import dgm_formulas
import dgm_slim
from PIL import Image

TAG = r"<{}\b[^>]*>"
ADDRESS = re.compile(r'(?P<name>\s(?:href|src|action)=")(?P<url>[^"#:]+)(?P<fragment>#[^"]*)?"')
FORMULAS = "_static/formulas.css"
OPTIONS = "_static/documentation_options.js"
# before all else: where the browser refuses to store anything, the theme's scripts would stop with an error
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
LATE = 'document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";'
EARLY = """(({ dataset }) => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  dataset.theme = dataset.mode === 'auto' ? (dark ? 'dark' : 'light') : dataset.mode;
  if (!location.hash && !location.search) dataset.lazy = '';
})(document.documentElement);"""


def shared_sheet(page, match):
    """The path of a style sheet of all pages in the output folder; None for one that a page brings itself."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), match["href"]))
    return path if path.startswith("_static/") else None


def one_style_sheet(text, page, path, own):
    """Replace the shared style sheets of a page by the one at ``path``, and rules of its own."""
    href = posixpath.relpath(path, posixpath.dirname(page) or ".")
    link, first = f'<link rel="stylesheet" href="{href}" />\n', True
    text = re.sub(r"<style data-formulas>.*?</style>\n", "", text)  # of a page that is not written afresh
    link += f"<style data-formulas>{own}</style>\n" if own else ""

    def replace(match):
        nonlocal first
        if shared_sheet(page, match) is None:
            return match[0]
        kept, first = (link, False) if first else ("", first)
        return kept

    return dgm_assets.STYLESHEET.sub(replace, text)


def patient_scripts(text, options):
    """Let scripts from files run when the page is there, in their order; inline ones need the ``options`` before."""

    def replace(match):
        tag = match[0]
        waits = re.search(r"\s(defer|async)\b", tag) or "src=" not in tag
        return tag if waits else tag.replace("<script", '<script defer="defer"', 1)

    text = re.sub(r"<script [^>]*documentation_options\.js[^>]*></script>", f"<script>{options}</script>", text)
    return re.sub(TAG.format("script"), replace, text)


def sized_images(text, page, out):
    """Give every image its size in pixels, and let all but the first of the article wait until they are near."""
    start, seen = text.find("<article"), 0

    def replace(match):
        nonlocal seen
        tag = match[0]
        source = re.search(r'\ssrc="([^"]+)"', tag)
        path = source and out / posixpath.normpath(posixpath.join(posixpath.dirname(page), source[1]))
        extra = ""
        if path and path.is_file() and not re.search(r"\s(width|height)=", tag):
            size = image_size(path)
            extra += ' width="{}" height="{}"'.format(*size) if size else ""
        if match.start() > start >= 0:
            if seen and " loading=" not in tag:
                extra += ' loading="lazy" decoding="async"'
            seen += 1
        return tag.replace("<img", "<img" + extra, 1)

    return re.sub(TAG.format("img"), replace, text)


def image_size(path, known={}):  # noqa: B006 - one memory for all pages
    """Width and height in pixels; None for an SVG without them."""
    if path not in known:
        if path.suffix == ".svg":
            box = re.search(r'viewBox="\s*[\d.-]+\s+[\d.-]+\s+([\d.]+)\s+([\d.]+)', path.read_text(encoding="utf8"))
            known[path] = box and (round(float(box[1])), round(float(box[2])))
        else:
            with Image.open(path) as image:
                known[path] = image.size
    return known[path]


def honest_labels(text):
    """Take away labels that hide the words on a button (speech control listens for them), and roles out of place."""
    text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    text = text.replace(' role="doc-biblioentry"', "")
    text = re.sub(r'(<button class="btn search-button-field[^>]*?) aria-label="Search"', r"\1", text)
    return text.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def at_root(text, page):
    """The page for the root of the site: its addresses lead on from there. One less wait than being sent to it."""
    folder = posixpath.dirname(page)

    def replace(match):
        url = posixpath.normpath(posixpath.join(folder, match["url"]))
        return f'{match["name"]}{url}{match["fragment"] or ""}"'

    text = text.replace(f'data-content_root="{posixpath.relpath(".", folder)}/"', 'data-content_root="./"', 1)
    text = ADDRESS.sub(replace, text)
    if ' rel="canonical"' in text:  # with the site's address
        return text
    return text.replace("</title>", f'</title>\n<link rel="canonical" href="{page}" />', 1)


def finish(app, exception):
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    theme = out / "_static" / "scripts" / "pydata-sphinx-theme.js"
    theme.write_text(dgm_slim.one_keeper_of_tab_stops(theme.read_text(encoding="utf8")), encoding="utf8")
    looks = dgm_slim.looks_of((out / "_static" / "pygments.css").read_text(encoding="utf8"))
    options = (out / OPTIONS).read_text(encoding="utf8")
    pages = {
        path.relative_to(out).as_posix(): path.read_text(encoding="utf8")
        for path in sorted(out.rglob("*.html"))
        if path.relative_to(out).parts[0] != "_static" and path != out / "index.html"
    }
    pages, css = dgm_formulas.set_formulas(pages, app.config.mathjax3_config["tex"]["macros"])
    css, glyphs = dgm_formulas.split_sheet(dgm_formulas.write_fonts(css, out))
    (out / FORMULAS).write_text(css, encoding="utf8")
    pages = {page: dgm_slim.slim_space(dgm_slim.slim_code(text, looks)) for page, text in pages.items()}
    for page, text in pages.items():
        (out / page).write_text(text, encoding="utf8")  # the style sheet looks there for what is used
    note = Path(app.doctreedir) / "sheets.txt"  # pages that are not written afresh name the joint sheet only
    sheets = note.read_text(encoding="utf8").split() if note.exists() else []
    for page, text in pages.items():
        for match in dgm_assets.STYLESHEET.finditer(text):
            sheet = shared_sheet(page, match)
            if sheet and sheet not in sheets and not Path(sheet).name.startswith("book."):
                sheets.append(sheet)
    sheets = [*(sheet for sheet in sheets if sheet != FORMULAS), FORMULAS]  # last, as MathJax puts its own
    note.write_text("\n".join(sheets), encoding="utf8")
    style = dgm_assets.bundle(out, sheets)
    for page, text in pages.items():
        text = one_style_sheet(text, page, style, dgm_formulas.glyph_rules(glyphs, text))
        text = honest_labels(patient_scripts(text, options))
        text = text.replace(LATE, EARLY)
        if STORAGE not in text:
            text = re.sub(r"(<head>\s*<meta charset[^>]*>)", lambda m: m[1] + "\n" + STORAGE, text, count=1)
        text = sized_images(text, page, out)
        (out / page).write_text(text, encoding="utf8")
        if page == app.builder.get_target_uri(app.config.root_doc):
            (out / "index.html").write_text(at_root(text, page), encoding="utf8")


def setup(app):
    app.add_post_transform(dgm_assets.LighterImages)
    app.add_js_file("page.js", loading_method="defer")
    app.connect("config-inited", dgm_assets.self_contained)
    app.connect("build-finished", finish, priority=950)  # after everything else has been written
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
