"""Nothing is cut off: a formula looks the same where its box may overflow, and on a desk code needs no scrolling."""

import io

import numpy as np
import pytest
from axe import AT_ONCE, WHOLE
from PIL import Image
from repo import toc_pages

pytestmark = pytest.mark.site
PAGES = [f"{page}.html" for page in toc_pages()]
ON_A_PHONE = ["book/latent/ppca.html", "book/notation.html", "notebooks/probability/conditioning.html"]
SLICE = 5000  # pixels of a photograph; the browser draws no picture as high as a long page
OVERFLOW = ".math, .math * { overflow: visible !important }"
FOLDS = "document.querySelectorAll('details').forEach(fold => { fold.open = true; })"
BOXES = """() => [...document.querySelectorAll('.bd-article .math')].filter(e => e.checkVisibility()).map(e => {
  const { left, top, right, bottom } = e.getBoundingClientRect();
  return [[left, top + scrollY, right, bottom + scrollY].map(Math.round), e.querySelector('math').textContent];
})"""
WIDE = """() => [...document.querySelectorAll('.bd-article :is(.highlight pre, .math, mjx-container)')]
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1
    && /auto|scroll|hidden/.test(getComputedStyle(e).overflowX))
  .map(e => `too wide: ${(e.querySelector('math') ?? e).textContent.trim().slice(0, 100)}`)"""
FONTS = (
    "() => Promise.allSettled([...document.fonts].map(font => font.load()))"  # a glyph has its width before its face
)
EDGE = 6  # pixels beside a box that belong to it: what sticks out may begin there


def photograph(page, boxes):
    """{top: grey picture} of the slices of a page that hold a formula. JPEG: several times as fast as PNG."""
    width, height = page.viewport_size["width"], page.evaluate("document.documentElement.scrollHeight")
    found = {}
    for top in range(0, height, SLICE):
        if any(y0 < top + SLICE and y1 > top for (_, y0, _, y1), _ in boxes):
            clip = {"x": 0, "y": top, "width": width, "height": min(SLICE, height - top)}
            picture = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip, type="jpeg", quality=90)))
            found[top] = np.asarray(picture.convert("L"), dtype=np.int16)
    return found


def clipped(page):
    """The formulas of an open page that change, or move, when their boxes may overflow: something was hidden."""
    boxes = None
    while boxes != (boxes := page.evaluate(BOXES)):  # until faces and widths are the last ones
        page.wait_for_timeout(200)
    before = photograph(page, boxes)
    style = page.add_style_tag(content=OVERFLOW)
    after = photograph(page, boxes)
    freed = page.evaluate(BOXES)
    style.evaluate("e => e.remove()")
    found = {f"clipped: {text[:100]}" for (box, text), (now, _) in zip(boxes, freed, strict=True) if box != now}
    for top, picture in before.items():
        change = np.abs(picture - after[top]) > 60
        for (x0, y0, x1, y1), text in boxes:
            part = change[max(0, y0 - EDGE - top) : max(0, y1 + EDGE - top), max(0, x0) : max(0, x1)]
            if part.any():
                found.add(f"clipped: {text[:100]}")
    return sorted(found)


def cut_off(visit, name, damage="", widths=(1280,)):
    """What is cut off on a page with all its folds open: formulas at each width, and what is too wide at the first."""
    page, _ = visit(name)
    page.add_style_tag(content=AT_ONCE + damage)
    page.evaluate(WHOLE)
    page.evaluate(FOLDS)
    page.evaluate(FONTS)
    found = page.evaluate(WIDE)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"at {width} px {one}" for one in clipped(page)]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off(visit, name):
    """On a phone too, where a rule of the style sheet that cuts cuts everywhere: a few pages of each kind."""
    assert cut_off(visit, name, widths=(1280, 390) if name in ON_A_PHONE else (1280,)) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("div.math mjx-container { padding-block: 0 !important; margin-block: 0 !important }", "at 1280 px clipped"),
        ("span.math { overflow: hidden; display: inline-block; height: 0.9em }", "at 1280 px clipped"),
        (".bd-article .highlight pre { width: 90px; overflow: auto; white-space: pre !important }", "too wide"),
        ("div.math mjx-container { max-width: 90px; overflow: auto hidden }", "too wide"),
    ],
)
def test_what_is_cut_off_is_found(visit, damage, finding):
    found = cut_off(visit, "book/probability/gaussian_kl.html", damage, (1280,))
    assert any(one.startswith(finding) for one in found)
