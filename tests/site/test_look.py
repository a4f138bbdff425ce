"""How the pages look: one typeface, one left edge, numbers as in print, tables that a phone can show."""

import html
import re
import sys
from pathlib import Path

import matplotlib
import pytest
from fontTools.ttLib import TTFont
from repo import ROOT, SITE, toc_pages

pytestmark = pytest.mark.site
FONTS = SITE / "_static" / "fonts"
PAGES = [f"{page}.html" for page in toc_pages()]
SEVERAL = ["book/index.html", "book/vae/elbo.html", "book/results.html", "notebooks/vae/vae_2d.html"]
NOT_IN_THE_FACE = {"‖", "\u202f"}  # a norm's bars and a narrow space: each reader's own system has them
NOT_TEXT = re.compile(r"<(script|style|pre|code|mjx-container|button|svg)\b.*?</\1>", re.DOTALL)
HYPHEN_OR_E = re.compile(r"(?<![\w.\-−])-\.?\d|(?<![\w.])\d+(?:\.\d+)?e[+-]?\d+(?!\w)|[\w)][⁻⁰¹²³⁴⁵⁶⁷⁸⁹]")

sys.path.insert(0, str(ROOT / "book" / "_ext"))


def words(page):
    """The text of a page's article, without code and formulas."""
    article = (SITE / page).read_text(encoding="utf8").partition("<article")[2].partition("</article>")[0]
    return html.unescape(re.sub(r"<[^>]*>", "", NOT_TEXT.sub(" ", "<" + article)))


def drawn_with(page, selector):
    """The names of the fonts from files, and those of the system, that the browser draws an element's words with."""
    session = page.context.new_cdp_session(page)
    for domain in ("DOM", "CSS"):
        session.send(f"{domain}.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
    fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    return [{font["familyName"] for font in fonts if font["isCustomFont"] == own} for own in (True, False)]


@pytest.mark.parametrize(
    "selector", ["article h1", "section > p", "p > strong", "p > em", ".bd-links a", ".caption-text"]
)
def test_words_are_drawn_with_the_book_s_typeface(visit, selector):
    page, complaints = visit("book/vae/elbo.html")
    page.evaluate("delete document.documentElement.dataset.lazy")
    page.evaluate("document.fonts.ready")
    assert drawn_with(page, selector) == [{"DGM Serif"}, set()]
    assert complaints == []


def test_the_typeface_is_light_and_licensed():
    faces = sorted(FONTS.glob("*.woff2"))
    assert len(faces) == 4
    assert sum(face.stat().st_size for face in faces) < 150_000
    assert "SIL Open Font License, Version 1.1" in (FONTS / "LICENSE.txt").read_text(encoding="utf8")
    for face in faces:
        names = TTFont(face)["name"]
        assert "Source" not in "".join(names.getDebugName(i) for i in (1, 2, 4, 6))  # reserved for unchanged files
        assert "Adobe" in names.getDebugName(0)


def test_every_character_of_the_book_is_in_the_typeface():
    known = {chr(code) for code in TTFont(FONTS / "regular.woff2").getBestCmap()}
    missing = {c: page for page in PAGES for c in set(words(page)) - known if not c.isspace() or c == "\u202f"}
    assert missing.keys() <= NOT_IN_THE_FACE, missing
    assert missing.keys() == NOT_IN_THE_FACE  # otherwise one need not be named here


def test_what_comes_before_the_typeface_is_as_wide_and_as_high():
    """Times, set as dgm.css says, takes the room of the typeface, so that a page does not move when that is there."""
    font = TTFont(FONTS / "regular.woff2")
    metrics = (Path(matplotlib.get_data_path()) / "fonts" / "afm" / "ptmr8a.afm").read_text(encoding="latin1")
    times = {chr(int(code)): int(width) for code, width in re.findall(r"C (\d+) ; WX (\d+) ;", metrics)}
    text = [c for c in words("book/vae/elbo.html") if c.isascii() and c.isprintable() and c not in "'`"]
    glyphs = font.getBestCmap()
    ratio = sum(font["hmtx"][glyphs[ord(c)]][0] for c in text) / sum(times[c] for c in text)
    css = (ROOT / "book" / "_static" / "dgm.css").read_text(encoding="utf8")
    said = {name: float(value) / 100 for name, value in re.findall(r"([\w-]+-(?:adjust|override)): ([\d.]+)%", css)}
    assert said["size-adjust"] == pytest.approx(ratio, abs=0.01)
    assert said["ascent-override"] * ratio == pytest.approx(font["hhea"].ascent / 1000, abs=0.01)
    assert said["descent-override"] * ratio == pytest.approx(-font["hhea"].descent / 1000, abs=0.01)
    assert said["line-gap-override"] == font["hhea"].lineGap == 0


EDGES = """() => {
  document.documentElement.removeAttribute('data-lazy');
  const article = document.querySelector('.bd-article'), h1 = article.querySelector('h1');
  const edge = h1.getBoundingClientRect().left, found = [];
  const parts = ['h1, h2, h3, h4', 'section > p', 'figure, figure img, figcaption, figcaption p', '.sd-card',
    'div.admonition, div.proof', '.pst-scrollable-table-container, table', '.cell, .cell details'];
  const boxes = [...article.querySelectorAll(parts.map(part => `:is(${part})`).join())]
    .filter(e => e.checkVisibility())
    .filter(e => !e.parentElement.closest('li, dd, blockquote, td, .admonition, .proof, .sd-card'));
  boxes.push(...document.querySelectorAll('.prev-next-area, .prev-next-area .left-prev i'));
  const cards = boxes.filter(e => e.matches('.sd-card')).map(e => e.getBoundingClientRect().left);
  for (const e of boxes) {
    const { left } = e.getBoundingClientRect(), nth = e.matches('.sd-card') && left > Math.min(...cards) + 1;
    if (Math.abs(left - edge) > 0.6 && !nth) found.push(`${(left - edge).toFixed(1)} px: ${e.outerHTML.slice(0, 120)}`);
  }
  return [boxes.length, found];
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", SEVERAL)
def test_one_left_edge(visit, name, width):
    page, _ = visit(name, viewport={"width": width, "height": 900})
    count, found = page.evaluate(EDGES)
    assert count > 10
    assert found == []


def test_a_line_can_be_read(visit):
    """A line of text holds 60 to 75 characters on average."""
    page, _ = visit("book/vae/elbo.html")
    page.evaluate("document.fonts.ready")
    page.evaluate("""() => {  // ordinary English, long enough
        const p = document.querySelector('article section > p');
        p.id = 'measure';
        p.textContent = 'The bound is the same for every image, and the network has to find it in one go. '.repeat(12);
    }""")
    lines = page.evaluate("""() => {
        const p = document.getElementById('measure'), style = getComputedStyle(p);
        return p.getBoundingClientRect().height / parseFloat(style.lineHeight);
    }""")
    assert 60 <= 12 * 81 / lines <= 75


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("book/reference/")])  # signatures
def test_numbers_are_printed(name):
    """No hyphen for a minus, no e for a power of ten, and true superscripts."""
    assert HYPHEN_OR_E.findall(words(name)) == []


def test_numbers():
    from dgm_numbers import printed

    def shown(text):
        return "".join(f"^({node.astext()})" if node.tagname == "superscript" else node for node in printed(text))

    for text, expected in {
        "from -5 to [-.5, -12.25]": "from −5 to [−.5, −12.25]",
        "pages 5-7, C1-C11, 2020-01-05, --1, -x": "pages 5-7, C1-C11, 2020-01-05, --1, -x",
        "3.1e-05 or -1e-6 or 2.5e+03.": "3.1 × 10^(−5) or −10^(−6) or 2.5 × 10^(3).",
        "(1.2 ± 0.3) × 10⁻⁵": "(1.2 ± 0.3) × 10^(−5)",
        "−144.49 ± 0.47": "−144.49 ± 0.47",
        "10⁻¹⁸, (nΣ)⁻¹ and x²": "10^(−18), (nΣ)^(−1) and x^(2)",
        "28×28, commit 12e4f, p1e-3": "28 × 28, commit 12e4f, p1e-3",
    }.items():
        assert shown(text).replace("\N{NO-BREAK SPACE}", " ") == expected
    assert printed("0.5 ± 0.1")[0] == "0.5\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.1"


BROKEN = r"""() => {
  document.documentElement.removeAttribute('data-lazy');
  const value = /[−+]?\d[\d.,\u202f]*(\s?[±×]\s?\d[\d.,]*)?/g, found = [];
  let count = 0;
  for (const cell of document.querySelectorAll('.bd-article td')) {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text; (text = walker.nextNode());) {
      if (text.parentElement.closest('mjx-container, code')) continue;
      for (const { 0: match, index } of text.data.matchAll(value)) {
        const range = document.createRange();
        range.setStart(text, index);
        range.setEnd(text, index + match.length);
        count += 1;
        if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) found.push(match);
      }
    }
  }
  return [count, found];
}"""


@pytest.mark.parametrize("width", [1280, 390, 360])
@pytest.mark.parametrize("name", ["book/results.html", "book/vae/choosing.html", "notebooks/vae/svi_model.html"])
def test_a_value_is_not_broken(visit, name, width):
    page, _ = visit(name, viewport={"width": width, "height": 900})
    count, found = page.evaluate(BROKEN)
    assert count > 50
    assert found == []


def test_numbers_are_no_louder_than_words(visit):
    page, _ = visit("book/results.html")
    weights = page.evaluate("""[...document.querySelectorAll('td .pasted-text')].filter(e => !e.closest('strong'))
        .map(e => getComputedStyle(e)).map(s => s.fontWeight + ' ' + s.fontVariantNumeric)""")
    assert set(weights) == {"400 lining-nums tabular-nums"}


def test_the_first_column_stays_on_a_phone(visit):
    page, _ = visit("book/results.html", viewport={"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('.pst-scrollable-table-container[data-reached]')")
    before, after, other = page.evaluate("""async () => {
        const box = document.querySelector('.pst-scrollable-table-container[data-reached]');
        const [first, second] = box.querySelectorAll('tbody tr:first-child td');
        const [before, was] = [first, second].map(cell => cell.getBoundingClientRect().left);
        box.scrollLeft = 60;
        await new Promise(requestAnimationFrame);
        return [before, first.getBoundingClientRect().left, was - second.getBoundingClientRect().left];
    }""")
    assert after == before
    assert other > 30
