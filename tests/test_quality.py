"""The quality of the built pages: accessible, light, printed whole, and found by search."""

import functools
import http.server
import re
import sys
import threading
from importlib.resources import files

import pytest
from PIL import Image
from repo import ROOT, SITE, toc_pages

pytestmark = pytest.mark.site
PAGES = [f"{page}.html" for page in toc_pages()] + ["search.html"]
HEAVIEST = 2_000_000  # bytes, everything that a page loads when it is read to its end
AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf8")
PRACTICE = "localStorage.setItem('dgm-practice', 'on')"
# formulas are one picture each, with MathML beside it for screen readers: their thousands of boxes are left out
RUN = """async rules => {
  const choice = rules.length ? {runOnly: rules} : {rules: {'label-content-name-mismatch': {enabled: true}}};
  const what = {include: [['html']], exclude: [['mjx-math']]};
  const found = (await axe.run(what, {resultTypes: ['violations'], ...choice})).violations;
  return found.filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.slice(0, 5).map(n => `${v.impact} ${v.id}: ${n.html.slice(0, 160)}`));
}"""
SEARCHES = {  # what is looked for: a page that must be among the first found
    "score function": "book/vae/elbo.html",
    "planar": "book/flows/planar_and_couplings.html",
    "8.11": None,  # an exercise's number: wherever the book names it
    "B4.2": "book/vae/elbo.html",
}


@pytest.mark.parametrize("name", PAGES)
def test_accessible(visit, name):
    """No serious or critical finding of axe: with folds closed and open, in light and dark, wide and narrow."""
    page, _ = visit(name, script=PRACTICE)
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate(AXE)
    found = page.evaluate(RUN, [])
    colours = ["color-contrast", "link-in-text-block"]
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    found += page.evaluate(RUN, colours)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    found += page.evaluate(RUN, colours)
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_timeout(600)  # the theme looks again when the size has settled
    found += page.evaluate(RUN, ["scrollable-region-focusable", "target-size"])
    assert found == []


@pytest.mark.parametrize("damage", ['<img src="x.svg">', "<button></button>", '<p style="color: #bbb">pale</p>'])
def test_damage_is_found(visit, damage):
    page, _ = visit("book/references.html")
    page.evaluate(AXE)
    page.evaluate("html => document.querySelector('.bd-article').insertAdjacentHTML('afterbegin', html)", damage)
    assert len(page.evaluate(RUN, [])) == 1


@pytest.fixture(scope="module")
def address():
    """The site over HTTP, uncompressed."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", PAGES)
def test_light(browser, address, name):
    """All that a page transfers until its end has been read stays below 2 MB; it draws its text before its formulas."""
    page = browser.new_page()
    sizes = []
    page.on("requestfinished", lambda request: sizes.append((request.sizes()["responseBodySize"], request.url)))
    page.goto(f"{address}/{name}")
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate("""async () => {
        for (const image of document.images) { image.scrollIntoView(); await image.decode().catch(() => {}); }
    }""")
    page.wait_for_load_state("networkidle")
    page.close()
    assert sum(size for size, _ in sizes) < HEAVIEST, sorted(sizes)[-5:]
    sheets = [url for _, url in sizes if ".css" in url]
    assert len(sheets) == 1


@pytest.mark.parametrize("name", PAGES)
def test_images_have_a_size_and_wait(name):
    text = (SITE / name).read_text(encoding="utf8")
    article = text[text.find("<article") :]
    images = re.findall(r"<img\b[^>]*>", article)
    for image in re.findall(r"<img\b[^>]*>", text):
        assert re.search(r'\swidth="\d+" height="\d+"', image) or "style=" in image
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
    """The subset fonts still hold the glyphs of the theme's buttons."""
    page, _ = visit("book/vae/elbo.html")
    page.evaluate("document.fonts.ready")
    assert page.evaluate("document.fonts.check('900 16px \"Font Awesome 6 Free\"', '\\uf002')")
    assert page.evaluate("""[...document.querySelectorAll('.fa-solid, .fa-list')].filter(e => e.checkVisibility())
        .every(e => getComputedStyle(e, '::before').content.length === 3)""")


@pytest.mark.parametrize("query", SEARCHES)
def test_search_finds(visit, query):
    page, complaints = visit(f"search.html?q={query}")
    page.wait_for_function("document.querySelector('#search-results .search-summary')?.innerText.includes('found')")
    found = page.evaluate("[...document.querySelectorAll('#search-results li a')].map(link => link.href)")
    names = [re.sub(r"[?#].*", "", link).rpartition("html/")[2] for link in found]
    mentioned = [f"{p}.html" for p in toc_pages() if any(
        query in path.read_text(encoding="utf8")
        for path in (ROOT / f"{p}.md", ROOT / f"{p}.ipynb") if path.exists())]  # fmt: skip
    assert complaints == []
    if SEARCHES[query]:
        assert SEARCHES[query] in names[:5]
    else:
        assert set(names) & set(mentioned) if mentioned else True


def test_numbered_words():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    from dgm_search import SearchNumbered

    split = SearchNumbered({}).split
    assert split("Bishop 8.11 and B4.2, in 3.14159 ways.") == [
        "Bishop", "8.11", "and", "B4.2", "in", "3", "14159", "ways", "8", "11", "B4", "2"]  # fmt: skip


def test_style_sheet_keeps_what_applies():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import dgm_assets
    import tinycss2

    css = "a,.used>b{x:1} .gone{x:2} .used.gone{x:3} @media print{.gone{x:4} p{x:5}} .used:not(.gone){x:6}"
    kept = dgm_assets.purge(tinycss2.parse_stylesheet(css, True, True), {"used"})
    assert re.findall(r"x:(\d)", kept) == ["1", "5", "6"]


def test_print_keeps_proofs(visit, tmp_path):
    """On paper: the solutions, no navigation, nothing wider than the page."""
    page, _ = visit("book/vae/elbo.html", script=PRACTICE)
    page.evaluate("MathJax.startup.promise")
    content = page.pdf(path=tmp_path / "page.pdf", format="A4")
    folded = len(re.findall(rb"/Type\s*/Page\b", content))
    page, _ = visit("book/vae/elbo.html")
    page.evaluate("MathJax.startup.promise")
    assert folded == len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) > 5
    page.emulate_media(media="print")
    for gone in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".dgm-practice", ".prev-next-footer"):
        assert not page.locator(gone).first.is_visible()


def test_menu_changes_a_formula(visit):
    """The menu, fetched when first asked for, works on formulas that were set before it came."""
    page, complaints = visit("book/notation.html")
    page.evaluate("MathJax.startup.promise")
    page.locator("mjx-container").first.click(button="right")
    page.wait_for_selector(".CtxtMenu_MenuFrame")
    page.keyboard.press("Escape")
    page.locator("mjx-container").nth(3).click(button="right")
    page.wait_for_selector(".CtxtMenu_MenuFrame")
    assert complaints == []
