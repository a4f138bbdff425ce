"""The quality of the built pages: accessible, light, and printed whole."""

import re

import dgm_math
import docutils.utils
import pytest
from axe import AT_ONCE, TAB, WHOLE, inaccessible, out_of_reach
from docutils import nodes
from PIL import Image
from repo import ROOT, SITE, toc_pages
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace

pytestmark = pytest.mark.site
PAGES = [f"{page}.html" for page in toc_pages()] + ["search.html"]
PRACTICE = "localStorage.setItem('dgm-practice', 'on')"


def kinds(found):
    """The names of the findings: axe's rule, or what the book's own search says."""
    return [re.search(r"(?:serious|critical) ([a-z-]+)|faint|a link like words|moved", one)[0] for one in found]


DAMAGE = [
    ('<img src="x.svg">', ["critical image-alt"]),
    ("<button></button>", ["critical button-name"]),
    ('<p style="color: #bbb">pale</p>', ["serious color-contrast", "faint"]),
    ('<div style="opacity: 0.5; color: #777"><p>pale</p></div>', ["serious color-contrast", "faint"]),
    (
        '<p style="background: #345; color: color-mix(in srgb, black, white 20%)">x1</p>',
        ["serious color-contrast", "faint"],
    ),
    ('<p style="color: #999; font-size: 30px">large</p>', ["serious color-contrast", "faint"]),
    ('<p style="color: #888; font-size: 30px">large</p>', []),
    (
        '<p>A <a href="#" style="text-decoration: none; color: #333">link</a> in words</p>',
        ["serious link-in-text-block", "a link like words"],
    ),
]


@pytest.mark.parametrize("contrast", [True, False])
def test_damage_is_found(visit, contrast):
    """Each once, in light. Without axe's rule for contrast, the book's own search finds the same."""
    page, _ = visit("book/references.html")
    html = "".join(damage for damage, _ in DAMAGE)
    page.evaluate("html => document.querySelector('.bd-article').insertAdjacentHTML('afterbegin', html)", html)
    found = kinds(one for one in inaccessible(page, contrast) if not one.startswith("in dark"))
    expected = [kind for _, kinds in DAMAGE for kind in kinds if contrast or kind != "serious color-contrast"]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("--pst-color-text-base: #333", {"serious color-contrast", "faint"}),
        ("--pst-color-link: #345", {"serious color-contrast", "faint"}),
        ("font-size: 17px", {"moved"}),
    ],
)
def test_dark_damage_is_found(visit, rule, expected):
    """What is legible in light and not in dark, or is elsewhere."""
    page, _ = visit("book/references.html")
    page.add_style_tag(content=f"html[data-theme='dark'] {{ {rule} !important }}")
    found = inaccessible(page, contrast="moved" not in expected)
    assert all(finding.startswith("in dark: ") for finding in found)
    assert set(kinds(found)) == expected


REACHED = {  # done to a box that scrolls, and one that does not
    "out of reach": "<div style='overflow: auto; width: 100px'><div style='width: 200px'>wide</div></div>",
    "in the way": "<span class='math' tabindex='0'>short</span>",
}


@pytest.mark.parametrize("finding", REACHED)
def test_reach_is_seen(visit, finding):
    page, _ = visit("book/references.html")
    assert out_of_reach(page) == []
    page.evaluate(
        "html => document.querySelector('.bd-article').insertAdjacentHTML('afterbegin', html)", REACHED[finding]
    )
    assert [one.split(":")[0] for one in out_of_reach(page)] == [finding]


@pytest.mark.parametrize("name", PAGES)
def test_images_have_a_size_and_wait(name):
    text = (SITE / name).read_text(encoding="utf8")
    article = text[text.find("<article") :]
    images = re.findall(r"<img\b[^>]*>", article)
    for image in images:
        assert re.search(r'\swidth="\d+"', image)
        assert re.search(r'\sheight="\d+"', image)
    assert all('loading="lazy"' in image for image in images[1:])
    assert "loading=" not in "".join(images[:1])


def test_images_keep_their_pixels():
    """The WebP files show what the notebooks hold, to the last bit."""
    pairs = [(p, p.with_suffix(".png")) for p in (ROOT / "_build" / "jupyter_execute").glob("*.webp")]
    assert pairs
    for light, original in pairs[:: max(1, len(pairs) // 6)]:
        with Image.open(light) as one, Image.open(original) as other:
            assert one.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()


def test_icons_are_drawn(visit):
    """The one style sheet still leads to the fonts of the theme's buttons."""
    page, _ = visit("book/vae/elbo.html")
    page.evaluate("document.fonts.ready")
    assert page.evaluate("document.fonts.check('900 16px \"Font Awesome 6 Free\"', '\\uf002')")
    assert page.evaluate("""[...document.querySelectorAll('.fa-solid, .fa-list')].filter(e => e.checkVisibility())
        .every(e => getComputedStyle(e, '::before').content.length === 3)""")


def test_formulas_are_drawn(visit):
    """Every glyph has its width from a rule of the page: without the rules a formula is an empty box."""
    page, _ = visit("book/vae/elbo.html")
    page.evaluate("delete document.documentElement.dataset.lazy")
    widths = page.evaluate("""[...document.querySelectorAll('mjx-mi mjx-c, mjx-mn mjx-c')]
        .filter(c => c.checkVisibility()).map(c => c.getBoundingClientRect().width)""")
    assert len(widths) > 500
    assert min(widths) > 0


def test_a_table_that_scrolls_says_so(visit):
    """It fades at its edge, as long as there is more to see; one that fits does not."""
    page, _ = visit("book/results.html", viewport={"width": 360, "height": 740})
    page.evaluate(TAB)
    page.wait_for_function("document.querySelector('.pst-scrollable-table-container[data-reached]')")
    fades = """[...document.querySelectorAll('.bd-article .pst-scrollable-table-container')]
        .map(box => [box.scrollWidth > box.clientWidth + 1, getComputedStyle(box).getPropertyValue('--dgm-fade')])"""
    page.wait_for_function(f"{fades}.every(([scrolls, fade]) => fade === (scrolls ? '32px' : '0px'))")
    assert any(scrolls for scrolls, _ in page.evaluate(fades))
    page.evaluate("document.querySelectorAll('[data-reached]').forEach(box => { box.scrollLeft = 1e4; })")
    page.wait_for_function(f"{fades}.every(([, fade]) => parseFloat(fade) < 1)")


PLACES = """() => [...document.querySelectorAll('.bd-article :is(h2, h3, .highlight pre)')]
    .map(e => [e.getBoundingClientRect().x, e.offsetHeight])"""


LAID_OUT = """[...document.querySelectorAll('.bd-article p')]
    .filter(e => !e.closest('details')).map(e => e.checkVisibility({contentVisibilityAuto: true}))"""


def test_what_is_far_waits_and_nothing_jumps(visit):
    """A far paragraph is not laid out; the first Tab, or an anchor, has everything laid out, and nothing is wider."""
    page, _ = visit("notebooks/vae/vae_2d.html")
    page.wait_for_function("document.readyState === 'complete'")
    shown = page.evaluate(LAID_OUT)
    assert sum(shown) < len(shown) / 2
    before = page.evaluate(PLACES)
    page.keyboard.press("Tab")
    assert all(page.evaluate(LAID_OUT))
    after = page.evaluate(PLACES)
    assert (
        max(abs(a - b) for one, other in zip(before, after, strict=True) for a, b in zip(one, other, strict=True)) <= 1
    )


def test_a_phone_works_for_what_its_reader_sees(visit):
    """With a finger as pointer, the far end is neither laid out nor fetched before the reader comes there."""
    page, _ = visit("notebooks/vae/vae_2d.html", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    page.wait_for_function("document.readyState === 'complete'")
    page.wait_for_timeout(500)  # whatever scripts do has been done
    shown = page.evaluate(LAID_OUT)
    assert sum(shown) < len(shown) / 2
    assert not page.evaluate("[...document.images].at(-1).complete")
    page.evaluate("[...document.querySelectorAll('.bd-article p')].at(-1).scrollIntoView({behavior: 'instant'})")
    page.wait_for_function(f"{LAID_OUT}.at(-1)")


@pytest.mark.parametrize("how", ["address", "click"])
@pytest.mark.parametrize("target", ["what-goes-wrong", "a-reconstruction-is-not-a-generated-image", "fig-ceiling"])
def test_anchors_land_right(visit, target, how):
    """Where the target is when all is laid out, from the first, and after a while."""
    name = "notebooks/vae/vae_2d.html"
    if how == "address":
        page, _ = visit("book/status.html", reduced_motion="reduce")
        page.goto(f"{(SITE / name).as_uri()}#{target}")
    else:
        page, _ = visit(name, reduced_motion="reduce")
        page.evaluate("""id => document.querySelector('.bd-article').insertAdjacentHTML('afterbegin',
            `<a id='here' href='#${id}'>here</a>`)""", target)  # fmt: skip
        page.locator("#here").click()
    place = "id => document.getElementById(id).getBoundingClientRect().top"
    page.wait_for_function(f"id => Math.abs(({place})(id)) < 200", arg=target)
    first = page.evaluate(place, target)
    page.wait_for_timeout(700)
    assert page.evaluate(place, target) == pytest.approx(first, abs=1)


def test_hidden_mathml_widens_nothing(visit):
    """What is there for screen readers takes a pixel: no formula scrolls for it, and no page is wider than a phone."""
    page, _ = visit("book/vae/elbo.html", viewport={"width": 360, "height": 740})
    page.evaluate(WHOLE)
    hidden = page.evaluate("""[...document.querySelectorAll('mjx-assistive-mml')].filter(e => e.checkVisibility())
        .map(e => e.getBoundingClientRect()).map(box => [box.width, box.height])""")
    assert len(hidden) > 100
    assert max(max(box) for box in hidden) <= 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (
        page.evaluate("""[...document.querySelectorAll('.math')].filter(e => e.checkVisibility())
        .flatMap(e => [e, e.querySelector('mjx-container')])
        .filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1)
        .filter(e => e.querySelector('mjx-math').getBoundingClientRect().width < e.clientWidth).length""")
        == 0
    )


def test_print_keeps_proofs(visit, tmp_path):
    """On paper: the solutions, no navigation, nothing wider than the page."""
    page, _ = visit("book/probability/moment_matching.html", script=PRACTICE)
    content = page.pdf(path=tmp_path / "page.pdf", format="A4")
    folded = len(re.findall(rb"/Type\s*/Page\b", content))
    page, _ = visit("book/probability/moment_matching.html")
    assert folded == len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) > 3
    page.emulate_media(media="print")
    for gone in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".dgm-practice", ".prev-next-footer"):
        assert not page.locator(gone).first.is_visible()


def test_paper_is_white(visit):
    """A page that was dark on the screen is printed like one that was light."""
    looks = {}
    for mode in ("light", "dark"):
        page, _ = visit("notebooks/vae/vae_2d.html", mode)
        page.emulate_media(media="print", color_scheme=mode)
        page.add_style_tag(content=AT_ONCE)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        looks[mode] = page.evaluate("""() => ['body', 'article h2', 'article p', 'article a', 'figcaption']
            .map(what => getComputedStyle(document.querySelector(what)))
            .map(style => [style.color, style.backgroundColor, style.filter])""")
        assert page.evaluate("""() => [...document.querySelectorAll('.highlight span')]
            .every(e => Math.max(...getComputedStyle(e).color.match(/\\d+/g)) < 200)""")
    assert looks["light"] == looks["dark"]


def test_formulas_are_set_when_the_site_is_built(visit):
    """No page asks for MathJax, and without any script every formula is there, with its MathML."""
    text = (SITE / "book" / "vae" / "elbo.html").read_text()
    assert "MathJax.js" not in text
    assert "tex-chtml" not in text
    assert text.count("<mjx-math") == text.count("<mjx-assistive-mml") == text.count('class="math ') > 100
    page, _ = visit("book/vae/elbo.html")
    drawn = page.locator(".math mjx-math").first
    family = "e => getComputedStyle(e.querySelector('mjx-c'), '::before').fontFamily"
    assert "MJXTEX" in drawn.evaluate(family)
    page.evaluate("document.fonts.ready")
    loaded = page.evaluate("[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)")
    assert any("MJXTEX" in family for family in loaded)


CONF = r"""
extensions = ["dgm_math"]
html_math_renderer = "typeset"
mathjax3_config = {"tex": {"macros": {"E": r"\mathbb{E}"}}}
"""


@pytest.fixture
def build(tmp_path):
    """Builds a page of reStructuredText with nothing but the formulas of ``dgm_math``."""

    def build(text):
        (tmp_path / "conf.py").write_text(CONF)
        (tmp_path / "index.rst").write_text(text)
        folders = (tmp_path, tmp_path, tmp_path / "html", tmp_path / "trees")
        with docutils_namespace():
            Sphinx(*folders, "html", status=None, warning=None, freshenv=True).build()
        return (tmp_path / "html" / "index.html").read_text(), tmp_path / "html" / "_static"

    return build


def test_formulas(build):
    text = (
        ":math:`a < \\E[x]` and :math:`a < \\E[x]`\n\n.. math:: \\frac{a}{b} \\\\ c\n   :label: one\n\nBy :eq:`one`.\n"
    )
    page, static = build(text)
    assert page.count("<mjx-math") == page.count("<mjx-assistive-mml") == page.count('class="math ') == 3
    assert "<mo>&lt;</mo>" in page
    assert page.count('mathvariant="double-struck">E<') == 2
    assert re.search(r'id="equation-one">\s*<span class="eqno">\(1\)<a[^>]*href="#equation-one"[^>]*>', page)
    assert "MathJax.js" not in page
    css = (static / dgm_math.SHEET).read_text()
    fonts = re.findall(r'url\("([^"]+\.woff)"\)', css)
    assert len(fonts) > 10
    assert all((static / font).is_file() for font in fonts)


def test_a_wrong_formula_stops_the_build_and_is_named(build):
    with pytest.raises(ExtensionError, match=r"index, line 3: Undefined control sequence \\nonsense: 1 \+ \\nonsense"):
        build("Right: :math:`x`.\n\nWrong: :math:`1 + \\nonsense`.\n")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["Let ", "$a", ", and (", "$b", "); the ", "$n", "th of them"], ["a,", "(b);", "nth"]),
        (["$a", "."], ["a."]),
        (["", "$a", "-dimensional ", "$b", "dimensional"], ["a-"]),
        (["$a", "$b", "!"], ["b!"]),
    ],
)
def test_a_comma_stays_with_its_formula(parts, whole):
    """What touches a formula is in one box with it, and nothing is lost."""
    document = docutils.utils.new_document("")
    document += nodes.paragraph("", "", *(nodes.math("", p[1:]) if p[:1] == "$" else nodes.Text(p) for p in parts))
    dgm_math.Whole(document).run()
    assert [one.astext() for one in document.findall(nodes.inline)] == whole
    assert document.astext() == "".join(parts).replace("$", "")


@pytest.mark.parametrize(
    ("tex", "places"),
    [
        (r"f(x) = g(y) + 1", 0),  # short
        (r"f(a, b, c) = g(a, b, c) + h(a = b - c)", 2),
        (r"\log p(x, y, z) = -\|a - b\| = 2 + |x - y|^2 + 1", 6),
        (r"\log w = \log p(x, z),\qquad z \sim q(z \mid x)", 3),
        (r"\E_q\left[\log p(x, z) - \log q(z \mid x)\right]", 1),
        (r"\bigl(\log p(x, z) - \log q(z)\bigr)^2 + 1", 2),
        (r"\begin{aligned} a &= b + c \\ &\le \alpha + \beta + f(x, y) + g(x, y) \end{aligned}", 3),
        (r"\begin{split}\begin{aligned} a &\le \alpha + \beta + f(x, y) + g(x, y) \end{aligned}\end{split}", 3),
        (r"\displaystyle f(x, y) = \frac{a + b}{c + d} + g(x, y) - 1", 3),
    ],
)
def test_a_long_formula_may_be_broken(tex, places):
    [drawn] = dgm_math.typeset([[tex, True]], {"E": "\\mathbb{E}"})["html"]
    assert drawn.count("<mjx-break") == places
    assert ("mjx-long" in drawn) == (places > 0)
    assert drawn.count('"mjx-wide"') == tex.count("quad")
    assert drawn.count("<mjx-piece") == (2 if "quad" in tex else 0)
