"""axe-core on an open page, fast enough for every page: what repeats itself is looked at once."""

from importlib.resources import files

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf8")
# colours are measured when they have changed, not on their way
AT_ONCE = "*, *::before, *::after { transition: none !important; animation: none !important; }"

# Nothing is left for later: what is far from the window is laid out too.
WHOLE = "delete document.documentElement.dataset.lazy"
TAB = "dispatchEvent(new KeyboardEvent('keydown', {key: 'Tab'}))"  # what a reader with a keyboard does first

# Practice mode with every fold open shows all that a page can show. A formula becomes a box of its size. Of letters in
# formulas and of bare text (no attribute but a class) one example for each path of tags and classes is kept, as all of
# them look the same.
THIN = """() => {
  document.querySelector('.dgm-practice [aria-checked=false]')?.click();
  document.querySelectorAll('details').forEach(fold => { fold.open = true; });
  const path = e => (e ? `${path(e.parentElement)} ${e.tagName}.${e.className}.${e.style?.cssText}` : '');
  const seen = new Set();
  const sizes = [...document.querySelectorAll('mjx-math')].map(math => [math, math.getBoundingClientRect()]);
  for (const [math, {width, height}] of sizes) {
    const box = document.createElement('span'), key = path(math.parentElement);
    box.textContent = seen.has(key) ? '' : 'x';
    box.style = `display: inline-block; width: ${width}px; height: ${height}px`;
    math.parentElement.replaceChildren(box);
    seen.add(key);
  }
  for (const e of document.querySelectorAll('.bd-article :is(span, em, strong, code, p)')) {
    if (e.children.length || e.closest('a, button, th, summary')) continue;
    if ([...e.attributes].some(a => a.name !== 'class')) continue;
    const key = path(e);
    if (seen.has(key)) e.remove();
    seen.add(key);
  }
}"""

RUN = """async rules => {
  const choice = rules.length ? {runOnly: rules} : {rules: {
    'label-content-name-mismatch': {enabled: true},
    'scrollable-region-focusable': {enabled: false}, // REACH asks for more, and of formulas as they are
  }};
  const found = (await axe.run('html', {preload: false, resultTypes: ['violations'], ...choice})).violations;
  return found.filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.slice(0, 5).map(n => `${v.impact} ${v.id}: ${n.html.slice(0, 160)}`));
}"""
COLOURS = ["color-contrast", "link-in-text-block"]

# What scrolls sideways must be reached by keyboard, and what does not scroll must not stand in its way.
REACH = """() => {
  const boxes = [...document.querySelectorAll('.bd-article *')].filter(e => !e.closest('mjx-container > *'));
  const scrolls = e => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX);
  const reached = e => e.tabIndex >= 0 || e.querySelector('a, button, input, summary, [tabindex="0"]');
  const out = boxes.filter(e => scrolls(e) && !reached(e)).map(e => `out of reach: ${e.outerHTML.slice(0, 150)}`);
  const idle = boxes.filter(e => e.matches('.math, mjx-container') && e.tabIndex >= 0
    && Math.max(0, ...[...e.querySelectorAll('mjx-math')].map(m => m.getBoundingClientRect().width)) < e.clientWidth);
  return [...out, ...idle.map(e => `in the way: ${e.outerHTML.slice(0, 150)}`)];
}"""


def inaccessible(page):
    """Serious and critical findings of axe on an open page, and those about colours once more in dark."""
    page.add_style_tag(content=AT_ONCE)
    page.evaluate(WHOLE)
    page.evaluate(THIN)
    page.evaluate(AXE)
    found = page.evaluate(RUN, [])
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    return found + [f"in dark: {finding}" for finding in page.evaluate(RUN, COLOURS)]


def out_of_reach(page):
    """Boxes that scroll and cannot be reached by keyboard; scripts have three seconds to see to them after a resize."""
    page.evaluate(TAB)
    for _ in range(10):
        found = page.evaluate(REACH)
        if not found:
            break
        page.wait_for_timeout(300)
    return found
