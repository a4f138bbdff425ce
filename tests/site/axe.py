"""axe-core on an open page, fast enough for every page: what repeats itself is looked at once.

axe takes most of its time for the contrast of colours. ``FAINT`` measures that of words with the background that their
own boxes and those around them paint, and takes a hundredth of it; axe's rule, which also sees what lies on top of each
other, runs on a few pages of each kind.
"""

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
  const practice = document.querySelector('.dgm-practice [aria-checked=false]');
  practice?.click();
  document.querySelectorAll('details').forEach(fold => { fold.open = true; });
  const path = e => (e ? `${path(e.parentElement)} ${e.tagName}.${e.className}.${e.style?.cssText}` : '');
  const seen = new Set(), away = [];
  const instead = (e, box) => { e.replaceWith(box); away.push([e, box]); };
  const sizes = [...document.querySelectorAll('mjx-math')].map(math => [math, math.getBoundingClientRect()]);
  for (const [math, {width, height}] of sizes) {
    const box = document.createElement('span'), key = path(math.parentElement);
    box.textContent = seen.has(key) ? '' : 'x';
    box.style = `display: inline-block; width: ${width}px; height: ${height}px`;
    instead(math, box);
    seen.add(key);
  }
  for (const e of document.querySelectorAll('mjx-assistive-mml')) instead(e, document.createComment(''));
  for (const e of document.querySelectorAll('.bd-article :is(span, em, strong, code, p)')) {
    if (e.children.length || e.closest('a, button, th, summary')) continue;
    if ([...e.attributes].some(a => a.name !== 'class')) continue;
    const key = path(e);
    if (seen.has(key)) instead(e, document.createComment(''));
    seen.add(key);
  }
  for (const e of document.querySelectorAll('.bd-sidebar-primary li a')) {
    const key = path(e), plain = [...e.attributes].every(a => ['class', 'href'].includes(a.name));
    if (seen.has(key) && plain && e.innerText.trim()) instead(e, document.createComment(''));
    seen.add(key);
  }
  window.dgmUndo = () => {
    away.reverse().forEach(([e, box]) => box.replaceWith(e));
    practice?.click();
  };
}"""
UNDO = "dgmUndo()"  # the page is again what it was, but for open folds

RUN = """async ([only, without]) => {
  const choice = only.length ? {runOnly: only} : {rules: {
    'label-content-name-mismatch': {enabled: true},
    'scrollable-region-focusable': {enabled: false}, // REACH asks for more, and of formulas as they are
    'region': {enabled: false}, // slow, and never serious
    ...Object.fromEntries(without.map(rule => [rule, {enabled: false}])),
  }};
  const found = (await axe.run('html', {preload: false, resultTypes: ['violations'], ...choice})).violations;
  return found.filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.slice(0, 5).map(n => `${v.impact} ${v.id}: ${n.html.slice(0, 160)}`));
}"""

# The contrast of words, by WCAG's formula: at least 4.5, or 3 where they are large. A sign alone is an ornament.
FAINT = r"""() => {
  const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
    .getContext('2d', {willReadFrequently: true});
  const known = new Map(), found = [];
  const colour = text => {  // whatever its notation
    if (!known.has(text)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = text;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(text, [[r, g, b], a / 255]);
    }
    return known.get(text);
  };
  const mix = (over, share, under) => over.map((x, i) => share * x + (1 - share) * under[i]);
  const light = rgb => rgb.map(x => x / 255).map(x => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const plain = (a, block) => [...block.childNodes].some(n => n.nodeType === 3 && /\w/.test(n.data))
    && ![a, ...a.querySelectorAll('*')].some(e => getComputedStyle(e).textDecorationLine.includes('underline'));
  const painted = new Map([[null, {ground: [255, 255, 255], veils: [], picture: false}]]);
  const paint = e => {  // what lies below the words of a box, and what the opacity of boxes around it does to both
    if (!painted.has(e)) {
      const style = getComputedStyle(e), { ground, veils, picture } = paint(e.parentElement);
      const own = mix(...colour(style.backgroundColor), ground), share = parseFloat(style.opacity);
      painted.set(e, {
        ground: own, veils: share < 1 ? [[share, ground], ...veils] : veils,
        picture: style.backgroundImage !== 'none' || (picture && colour(style.backgroundColor)[1] < 1),
      });
    }
    return painted.get(e);
  };
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && /\w|\S{2}/.test(n.data))) continue;
    if (e.closest('script, style, :disabled')) continue;
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const { width, height } = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (width <= 1 || height <= 1) continue;  // for screen readers
    let { ground, veils, picture } = paint(e), words = mix(...colour(style.color), ground);
    if (picture) continue;
    for (const [share, below] of veils) [words, ground] = [words, ground].map(c => mix(c, share, below));
    const [low, high] = [light(words), light(ground)].sort((a, b) => a - b), size = parseFloat(style.fontSize);
    const contrast = (high + 0.05) / (low + 0.05), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) found.push(`faint, ${contrast.toFixed(2)}: ${e.outerHTML.slice(0, 160)}`);
  }
  for (const a of document.querySelectorAll('.bd-article :is(p, dd, li) > a:not(.headerlink)'))
    if (a.checkVisibility() && plain(a, a.parentElement)) found.push(`a link like words: ${a.outerHTML.slice(0, 160)}`);
  return found.slice(0, 5);
}"""
# What must not depend on the colours: where everything is, but for the logo, of which there are two.
PLACES = """() => [...document.querySelectorAll('body :not(.only-light, .only-dark)')]
  .filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect()])
  .map(([e, { left, top, right, bottom }]) => [e.outerHTML.slice(0, 150), left, top, right, bottom].join(' '))"""
COLOURS = ["color-contrast", "link-in-text-block"]
DARK = "document.documentElement.dataset.theme === 'dark'"

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


def inaccessible(page, contrast=True):
    """Serious and critical findings of axe on an open page, and those about colours once more in dark, where the page
    is left. Without ``contrast`` that of words is measured by ``FAINT`` alone."""
    page.add_style_tag(content=AT_ONCE)
    page.evaluate(WHOLE)
    page.evaluate(THIN)
    page.evaluate(AXE)
    found = page.evaluate(RUN, [[], [] if contrast else ["color-contrast"]]) + page.evaluate(FAINT)
    places = page.evaluate(PLACES)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(DARK)  # the theme's script listens
    dark = (page.evaluate(RUN, [COLOURS, []]) if contrast else []) + page.evaluate(FAINT)
    dark += [f"moved: {new}" for old, new in zip(places, page.evaluate(PLACES), strict=True) if new != old][:5]
    return found + [f"in dark: {finding}" for finding in dark]


def out_of_reach(page):
    """Boxes that scroll and cannot be reached by keyboard; scripts have three seconds to see to them after a resize."""
    page.evaluate(TAB)
    for _ in range(10):
        found = page.evaluate(REACH)
        if not found:
            break
        page.wait_for_timeout(300)
    return found
