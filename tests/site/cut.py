"""What is cut off on an open page: a formula that looks otherwise where its boxes may overflow, and wide code.

Only the formulas are photographed that hold a box which could hide something; the rest of the page is taken away for
the photograph, as long as every such formula keeps its size.
"""

import io

import numpy as np
from PIL import Image

DESK = 1280  # pixels
HIGHEST = 16_000  # pixels; the browser draws no higher picture
EDGE = 6  # pixels beside a box that belong to it: what sticks out may begin there
FOLDS = "document.querySelectorAll('details').forEach(fold => { fold.open = true; })"
WIDE = """() => [...document.querySelectorAll('.bd-article :is(.highlight pre, .math, mjx-container)')]
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1
    && /auto|scroll|hidden/.test(getComputedStyle(e).overflowX))
  .map(e => `too wide: ${(e.querySelector('math') ?? e).textContent.trim().slice(0, 100)}`)"""
# a glyph has its width before its face, pictures wait until they are near, scripts answer a new width after a frame
SETTLED = """async () => {
  const pictures = [...document.images].filter(image => !image.complete);
  for (const image of pictures) image.loading = 'eager';
  const there = image => image.complete || new Promise(done => { image.onload = image.onerror = done; });
  await Promise.all(pictures.map(there));
  await Promise.allSettled([...document.fonts].map(font => font.load()));
  for (let i = 0; i < 2; i++) await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
}"""

# Where nothing but `visible` is computed, `overflow: visible` changes nothing. A box without content hides nothing.
# What is there for screen readers is clipped to nothing, whether it overflows or not.
SUSPECTS = """() => {
  const hides = e => {
    const style = getComputedStyle(e);
    return (style.overflowX !== 'visible' || style.overflowY !== 'visible') && (style.clip === 'auto')
      && (e.hasChildNodes() || ['::before', '::after'].some(p => getComputedStyle(e, p).content !== 'none'));
  };
  window.dgmSuspects = [...document.querySelectorAll('.bd-article .math')].filter(e => e.checkVisibility())
    .map(formula => [formula, [formula, ...formula.querySelectorAll('*')]
      .filter(e => !e.parentElement.closest('mjx-assistive-mml') && hides(e))])
    .filter(([, boxes]) => boxes.length);
  return window.dgmSuspects.length;
}"""
BOXES = """() => window.dgmSuspects.map(([formula]) => {
  const { left, top, right, bottom } = formula.getBoundingClientRect();
  return [[left, top + scrollY, right, bottom + scrollY].map(Math.round), formula.querySelector('math').textContent];
})"""
SIZES = """() => window.dgmSuspects.map(([formula]) => {
  const { width, height } = formula.getBoundingClientRect();
  return [width, height].map(x => Math.round(8 * x) / 8);
})"""
# Only blocks without words of their own are searched for what to take away: the others would be set anew.
ALONE = """() => {
  const keep = new Set(), gone = [];
  for (const [formula] of window.dgmSuspects) for (let e = formula; e; e = e.parentElement) keep.add(e);
  const words = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  const thin = e => {
    if (!/^(block|list-item|flow-root)$/.test(getComputedStyle(e).display) || e.matches('.math') || words(e)) return;
    for (const child of e.children) keep.has(child) ? thin(child) : gone.push(child);
  };
  thin(document.querySelector('.bd-article'));
  window.dgmGone = gone.map(e => [e, e.style.display]);
  for (const e of gone) e.style.display = 'none';
}"""
TOGETHER = "() => { for (const [e, display] of window.dgmGone) e.style.display = display; }"
FREE = """free => { for (const [, boxes] of window.dgmSuspects) for (const e of boxes) {
  if (free) e.style.setProperty('overflow', 'visible', 'important'); else e.style.removeProperty('overflow'); } }"""


def photograph(page):
    """A grey picture of what the window shows. JPEG: several times as fast as PNG."""
    picture = Image.open(io.BytesIO(page.screenshot(type="jpeg", quality=90)))
    return np.asarray(picture.convert("L"), dtype=np.int16)


def clipped(page):
    """The formulas of an open page that change, or move, when their boxes may overflow: something was hidden."""
    page.evaluate(SETTLED)
    if not page.evaluate(SUSPECTS):
        return []
    sizes, window = page.evaluate(SIZES), page.viewport_size
    page.evaluate(ALONE)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < HIGHEST
    page.set_viewport_size({**window, "height": height})  # a window of this height shows all: several times as fast
    assert page.evaluate(SIZES) == sizes  # as on the whole page
    boxes, before = page.evaluate(BOXES), photograph(page)
    page.evaluate(FREE, True)
    freed, after = page.evaluate(BOXES), photograph(page)
    page.evaluate(FREE, False)
    page.evaluate(TOGETHER)
    page.set_viewport_size(window)
    assert before.shape == after.shape == (height, window["width"])
    found, change = set(), np.abs(before - after) > 60
    for (box, text), (now, _) in zip(boxes, freed, strict=True):
        x0, y0, x1, y1 = box
        part = change[max(0, y0 - EDGE) : y1 + EDGE, max(0, x0) : max(0, x1)]
        if box != now or part.any():
            found.add(f"clipped: {text[:100]}")
    return sorted(found)


def cut_off(page, widths=(DESK,)):
    """What is cut off on an open page with all its folds open: formulas at each width, and on a desk what is wide."""
    page.evaluate(FOLDS)
    found = []
    for width in widths:
        if page.viewport_size["width"] != width:
            page.set_viewport_size({"width": width, "height": 900})
        found += [f"at {width} px {one}" for one in clipped(page)]  # which waits until all is in its place
        found += page.evaluate(WIDE) if width == DESK else []
    return found
