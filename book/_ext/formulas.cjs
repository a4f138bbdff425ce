// Sets formulas. Reads {mathjax, macros, fonts, formulas: [{tex, display}]} as JSON, writes {html: [...], css}.
const { mathjax, macros, fonts, formulas } = JSON.parse(require('fs').readFileSync(0, 'utf8'));

const LONG = 16; // glyphs; a formula with more may be broken on a phone, where dgm.css says what an <mjx-break> does
const OPEN = '( [ { 27E8', CLOSE = ') ] } 27E9', BARS = '| 2223 2225 2016', SUMS = '+ 2212';
const codes = signs => new Set(signs.split(' ').map(s => (s.length > 1 ? s : s.charCodeAt(0).toString(16).toUpperCase())));
const [open, close, bars, sums] = [OPEN, CLOSE, BARS, SUMS].map(codes);

/* Marks where a formula may be broken: before a relation, before + and -, and at the space between two formulas; not in
   round brackets of the text's size, nor between bars. `adaptor` is MathJax's. */
function allowBreaks(adaptor, math) {
  const kind = node => adaptor.kind(node), children = node => adaptor.childNodes(node);
  const glyphs = node => (kind(node) === 'mjx-c' ? [node] : children(node).flatMap(glyphs));
  const isLong = node => glyphs(node).length > LONG;

  // the code of the only glyph of a sign, also of one such as \bigl( or in )^2
  function sign(node) {
    if (['mjx-msup', 'mjx-msub', 'mjx-msubsup'].includes(kind(node))) return sign(children(node)[0]);
    const only = ['mjx-mo', 'mjx-TeXAtom'].includes(kind(node)) ? glyphs(node) : [];
    return only.length === 1 ? /mjx-c([0-9A-F]+)/.exec(adaptor.getAttribute(only[0], 'class'))?.[1] : '';
  }

  // whether it is a \quad or a \qquad
  function isWide(node) {
    if (kind(node) === 'mjx-mstyle') return children(node).length === 1 && isWide(children(node)[0]);
    return kind(node) === 'mjx-mspace' && parseFloat(adaptor.getStyle(node, 'width')) >= 1;
  }

  function inRow(row, inside = false) {
    let depth = 0, between = false, before = null, found = false;
    const parts = children(row), first = inside ? 1 : 0, end = inside ? parts.length - 1 : parts.length;
    for (const [place, part] of parts.entries()) {
      const code = sign(part), spaced = adaptor.getAttribute(part, 'space');
      if (place < first || place >= end) continue;
      if (open.has(code)) depth += 1;
      else if (close.has(code)) depth -= 1;
      else if (bars.has(code) && !depth) between = !between;
      else if (!depth && !between && before) {
        const relation = kind(part) === 'mjx-mo' && spaced === '4' && !inside;
        const wide = isWide(part);
        if ((relation && before !== 'relation') || wide || (sums.has(code) && spaced === '3')) {
          adaptor.insert(adaptor.node('mjx-break', wide ? { class: 'mjx-wide' } : {}), part);
          found = true;
        }
        if (kind(part) === 'mjx-mrow' && isLong(part)) found = inRow(part, true) || found;
      }
      if (kind(part) === 'mjx-mo' && spaced === '4') before = 'relation';
      else if (glyphs(part).length) before = 'other';
    }
    if (found) adaptor.addClass(row, 'mjx-long');
    return found;
  }

  const [only] = children(math);
  if (children(math).length === 1 && kind(only) === 'mjx-mtable') {
    const rows = node => (kind(node) === 'mjx-mtr' ? [node] : children(node).flatMap(rows));
    for (const row of rows(only)) {
      const last = children(row).at(-1);
      if (isLong(last)) inRow(last);
    }
  } else if (isLong(math)) inRow(math);
}

(async () => {
  const MathJax = await require(mathjax + '/node-main.js').init({
    loader: { paths: { mathjax }, load: ['input/tex', 'output/chtml', 'a11y/assistive-mml', 'adaptors/liteDOM'], require },
    tex: { macros, packages: { '[-]': ['noundefined'] } }, // an unknown command is an error
    chtml: { matchFontHeight: false, fontURL: fonts },
    startup: { typeset: false },
  });
  const adaptor = MathJax.startup.adaptor, html = [];
  for (const { tex, display } of formulas) {
    const drawn = await MathJax.tex2chtmlPromise(tex, { display });
    allowBreaks(adaptor, adaptor.firstChild(drawn));
    html.push(adaptor.outerHTML(drawn));
  }
  process.stdout.write(JSON.stringify({ html, css: adaptor.textContent(MathJax.chtmlStylesheet()) }));
})().catch(error => { console.error(error); process.exit(1); });
