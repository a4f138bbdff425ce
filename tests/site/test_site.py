"""The built site as a reader meets it: opened from disk, with no network, in light and dark, wide and narrow."""

import base64
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe import AT_ONCE, UNDO, WHOLE, inaccessible, out_of_reach
from cut import cut_off
from repo import SITE, toc_pages

pytestmark = pytest.mark.site
PAGES = [f"{page}.html" for page in toc_pages()] + ["search.html", "404.html"]

# the kinds of pages there are, and an example of each
EACH_KIND = [
    "book/index.html", "book/assignments.html", "book/vae/elbo.html", "book/results.html", "book/status.html",
    "book/play/latent_plane.html", "book/reference/vae.html", "notebooks/vae/vae_2d.html", "search.html", "404.html",
]  # fmt: skip
CUT_ON_A_PHONE = ["book/latent/ppca.html", "book/notation.html", "notebooks/probability/conditioning.html"]
THEME = "document.documentElement.dataset.theme"
HEAVIEST = 2_000_000  # bytes, everything that a page loads when it is read to its end, uncompressed

# What is wrong with the page that is open, one line for each finding.
PROBE = """async () => {
  await document.fonts.ready;
  const found = [], article = document.querySelector('.bd-article') ?? document.body;
  const say = (what, elements) => [...elements].forEach(e => found.push(`${what}: ${e.outerHTML.slice(0, 150)}`));
  const all = selector => [...document.querySelectorAll(selector)];
  say('formula not rendered', all('.math').filter(e => !e.querySelector('mjx-container')));
  say('formula with an error', all('mjx-merror'));
  say('broken image', all('img').filter(e => e.complete && !e.naturalWidth));
  say('image without alt text', all('img').filter(e => !e.alt.trim() || /\\.(png|svg|jpe?g)$/.test(e.alt)));
  say('figure without caption', all('figure').filter(e => !e.querySelector('figcaption')?.textContent.trim()));
  say('image of a notebook outside a figure', all('.cell_output img').filter(e => !e.closest('figure')));
  const ids = all('[id]').map(e => e.id), twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  say('id used twice', all('[id]').filter(e => twice.includes(e.id)));
  if (!document.querySelector('meta[name=description]')?.content) found.push('no description');
  if (!document.documentElement.lang) found.push('no language');
  return found;
}"""

# What does not fit the width: the page itself, and anything cut off that no box around it scrolls into view.
WIDTH = """() => {
  const article = document.querySelector('.bd-article') ?? document.body, width = window.innerWidth, found = [];
  const extra = document.documentElement.scrollWidth - width;
  if (extra > 1) found.push(`page is ${extra} px too wide`);
  const scrolls = e => /auto|scroll/.test(getComputedStyle(e).overflowX);
  const parts = 'p, li, table, img, pre, figure, mjx-container, details, dd, dt, h1, h2, h3';
  for (const e of document.querySelectorAll('.prev-next-area :is(p, i)')) {
    const { right } = e.getBoundingClientRect(), edge = e.closest('a').getBoundingClientRect().right;
    if (right > Math.min(edge, width) + 1) found.push(`cut off: ${e.outerHTML.slice(0, 150)}`);
  }
  for (const e of article.querySelectorAll(parts)) {
    if (e.closest('mjx-assistive-mml') || e.getBoundingClientRect().right <= width + 1) continue;
    let box = e;
    // a wide formula may sit in a table that scrolls
    const shows = b => scrolls(b) && b.getBoundingClientRect().right <= width + 1;
    while (box !== article && !shows(box)) box = box.parentElement;
    if (box === article) found.push(`cut off: ${e.outerHTML.slice(0, 150)}`);
  }
  return found;
}"""

# Formulas that have to be moved sideways to be read, with every fold open.
SCROLLING = """() => {
  document.querySelectorAll('details').forEach(fold => { fold.open = true; });
  return [...document.querySelectorAll('.math, .math mjx-container')]
    .filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1)
    .map(e => `formula scrolls: ${(e.querySelector('math') ?? e).textContent.slice(0, 150)}`);
}"""


def too_wide(page, widths):
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"at {width} px: {problem}" for problem in page.evaluate(WIDTH)]
    return found


def problems(page):
    """What is wrong with an open page, on a desk and on phones, the last of which is a small one."""
    page.evaluate(WHOLE)
    return page.evaluate(PROBE) + too_wide(page, (1280, 390, 360)) + page.evaluate(SCROLLING)


def files_of(urls):
    """Paths of the files that are meant by addresses."""
    return {Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(visit, name):
    """All that is asked of every page, in one visit: on a desk in light and dark, and on phones. What takes long, such
    as another width, comes once."""
    page, complaints = visit(name)
    assert page.evaluate(THEME) == "light"
    page.evaluate(WHOLE)
    page.add_style_tag(content=AT_ONCE)
    found = page.evaluate(PROBE) + too_wide(page, [1280])
    requested = set(visit.requested)  # later also what no reader needs, such as every font
    found += cut_off(page)
    found += inaccessible(page, contrast=name in EACH_KIND)  # also that in dark nothing is elsewhere
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{THEME} === 'light'")
    page.evaluate(UNDO)
    found += too_wide(page, [390]) + (cut_off(page, [390]) if name in CUT_ON_A_PHONE else [])
    found += too_wide(page, [360]) + page.evaluate(SCROLLING) + out_of_reach(page)
    images = page.evaluate("[...document.images].map(image => image.src)")  # also those that wait
    loaded = files_of([*requested, *images])
    assert sum(path.stat().st_size for path in loaded) < HEAVIEST
    assert len([path for path in loaded if path.suffix == ".css" and "_static" in path.parts]) == 1
    assert found + complaints == []


AT_FIRST = """new MutationObserver((_, observer) => {
  if (!document.body) return;
  window.atFirst = document.documentElement.dataset.theme;
  observer.disconnect();
}).observe(document, {childList: true, subtree: true});"""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_are_known_when_the_body_begins(visit, mode):
    """The theme's own script, which comes last, is not waited for: else all is styled twice."""
    page, _ = visit(PAGES[0], mode, script=AT_FIRST)
    assert page.evaluate("window.atFirst") == mode


def test_root_is_the_landing_page(visit):
    """Not a page that sends on to it, which costs a visitor a wait: the same page, all addresses lead the same way."""
    addresses = """[...document.querySelectorAll(':is([href], [src], form):not(base)')]
        .map(e => e.href || e.src || e.action).sort()"""
    page, _ = visit(PAGES[0])
    expected, words = page.evaluate(addresses), page.inner_text("main")
    page, complaints = visit("index.html")
    assert Path(unquote(urlsplit(page.url).path)) == SITE / "index.html"
    assert page.evaluate(addresses) == expected
    assert page.inner_text("main") == words
    assert problems(page) + out_of_reach(page) + complaints == []


def test_no_page_is_forgotten():
    built = {str(p.relative_to(SITE)) for p in SITE.rglob("*.html") if p.relative_to(SITE).parts[0] != "_static"}
    assert built == {*PAGES, "index.html"}


def test_search_finds_from_disk(visit):
    page, complaints = visit("search.html?q=bound")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("!document.querySelector('#search-results').innerText.includes('Searching')")
    assert complaints == []


def test_figures_turn_with_the_page(visit):
    """White paper becomes the dark page's own background, to a shade; the logo stays as it is."""
    page, _ = visit(PAGES[0], "dark")
    page.evaluate("""() => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [600, 200];
        const pen = canvas.getContext('2d');
        pen.fillStyle = '#fff';
        pen.fillRect(0, 0, 600, 200);
        const figure = document.createElement('figure'), image = new Image();
        image.src = canvas.toDataURL();
        figure.append(image);
        document.querySelector('.bd-article').prepend(figure);
        return image.decode();
    }""")
    image = page.locator("figure img").first
    shown = page.evaluate("""async png => {
        const image = new Image();
        image.src = 'data:image/png;base64,' + png;
        await image.decode();
        const pen = Object.assign(document.createElement('canvas'), {width: 9, height: 9}).getContext('2d');
        pen.drawImage(image, -50, -50);
        return [...pen.getImageData(4, 4, 1, 1).data].slice(0, 3);
    }""", base64.b64encode(image.screenshot()).decode())  # fmt: skip
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(abs(a - b) for a, b in zip(shown, background, strict=True)) <= 1
    assert page.evaluate("getComputedStyle(document.querySelector('.logo__image')).filter") == "none"


DAMAGE = {  # what each finding looks like, done to a page that has none
    "formula not rendered": "article.innerHTML += '<span class=math>\\\\(x\\\\)</span>'",
    "formula with an error": "article.innerHTML += '<mjx-merror>Undefined control sequence</mjx-merror>'",
    "formula scrolls": "article.innerHTML += '<div class=math><mjx-container><mjx-math style=\"padding: 0 300px\">x'",
    "broken image": "article.innerHTML += '<img alt=Lines src=\"data:image/png;base64,AAAA\">'",
    "image without alt text": "article.innerHTML += '<img src=\"../_static/logo.svg\">'",
    "figure without caption": "article.innerHTML += '<figure><figcaption> </figcaption></figure>'",
    "outside a figure": "article.innerHTML += '<div class=cell_output><img alt=a src=\"../_static/logo.svg\"></div>'",
    "id used twice": "article.innerHTML += '<p id=one></p><p id=one></p>'",
    "no description": "document.querySelector('meta[name=description]').remove()",
    "page is": "document.body.innerHTML += '<div style=\"width: 2000px; height: 9px\"></div>'",
    "cut off": 'article.innerHTML += \'<div style="overflow: hidden"><pre style="width: 2000px">x</pre></div>\'',
}


@pytest.mark.parametrize("finding", DAMAGE)
def test_damage_is_found(visit, finding):
    page, _ = visit("book/references.html")
    page.evaluate(f"() => {{ const article = document.querySelector('.bd-article'); {DAMAGE[finding]} }}")
    page.wait_for_timeout(100)
    assert any(finding in problem for problem in problems(page))


COMPLAINTS = {
    "console": "console.error('x')",
    "script": "setTimeout(() => { throw new Error('x') })",
    "failed": "document.body.append(Object.assign(new Image(), {src: 'missing.png'}))",
    "external": "document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))",
}


@pytest.mark.parametrize("kind", COMPLAINTS)
def test_complaint_is_heard(visit, kind):
    page, complaints = visit("book/references.html")
    page.evaluate(f"() => {{ {COMPLAINTS[kind]} }}")
    page.wait_for_timeout(300)
    assert any(complaint.startswith(kind) for complaint in complaints)
