// Sets formulas, JSON in and JSON out: of each [TeX, whether it is displayed] the html, or an error; the css of all.
const LONG = 16; // glyphs; a formula with more may be broken on a phone, where dgm.css says what an <mjx-break> does
const OPEN = ['28', '5B', '7B', '27E8'], CLOSE = ['29', '5D', '7D', '27E9'], SUMS = ['2B', '2212'], MID = '2223';

/* Marks where a formula may be broken: before a relation, before + and -, and at the space between two formulas; not
   between brackets of the text's size. `adaptor` is MathJax's. */
function allowBreaks(adaptor, math) {
  const kind = node => adaptor.kind(node), children = node => (kind(node) === '#text' ? [] : adaptor.childNodes(node));
  const glyphs = node => (kind(node) === 'mjx-c' ? [node] : children(node).flatMap(glyphs));

  // the code of the only glyph of a sign that has the text's size, also of one in )^2
  function sign(node) {
    if (['mjx-msup', 'mjx-msub', 'mjx-msubsup'].includes(kind(node))) return sign(children(node)[0]);
    const [glyph, ...more] = ['mjx-mo', 'mjx-TeXAtom'].includes(kind(node)) ? glyphs(node) : [];
    return glyph && !more.length && /^mjx-c([0-9A-F]+)$/.exec(adaptor.getAttribute(glyph, 'class'))?.[1];
  }

  // whether it is a \quad or a \qquad
  function isWide(node) {
    if (kind(node) === 'mjx-mstyle') return children(node).length === 1 && isWide(children(node)[0]);
    return kind(node) === 'mjx-mspace' && parseFloat(adaptor.getStyle(node, 'width')) >= 1;
  }

  // whether there is a place to break a row; several formulas in it are pieces, which go to the next line as a whole
  function inRow(row, parts = children(row)) {
    if (glyphs(row).length <= LONG) return false;
    const places = [];
    let depth = 0, begun = false, found = false;
    for (const part of parts) {
      const code = sign(part), space = adaptor.getAttribute(part, 'space');
      const isRelation = kind(part) === 'mjx-mo' && space === '4' && code !== MID;
      depth += OPEN.includes(code) - CLOSE.includes(code);
      if (!depth && begun && (isWide(part) || isRelation || (SUMS.includes(code) && space === '3'))) places.push(part);
      if (!depth && kind(part) === 'mjx-mrow') found = inRow(part, children(part).slice(1, -1)) || found; // \left( \right)
      begun = !isRelation && (begun || glyphs(part).length > 0); // a minus after = is none to break at
    }
    for (const part of places) adaptor.insert(adaptor.node('mjx-break', isWide(part) ? { class: 'mjx-wide' } : {}), part);
    if (!found && !places.length) return false;
    adaptor.addClass(row, 'mjx-long');
    let piece = null;
    for (const part of places.some(isWide) ? [...children(row)] : []) {
      if (isWide(part) || adaptor.hasClass(part, 'mjx-wide')) piece = null;
      else {
        if (!piece) adaptor.insert(piece = adaptor.node('mjx-piece', { class: 'mjx-long' }), part);
        adaptor.remove(part);
        adaptor.append(piece, part);
      }
    }
    return true;
  }

  // the rows of a table, also of one in the only cell of another (Sphinx puts {split} around {aligned})
  const rows = node => (kind(node) === 'mjx-mtr' ? [node] : children(node).flatMap(rows));
  function inside(box) {
    const [only, ...more] = children(box).filter(node => kind(node) !== 'mjx-tstrut');
    if (!only || more.length || !['mjx-mtable', 'mjx-mstyle'].includes(kind(only))) inRow(box);
    else if (kind(only) === 'mjx-mtable') rows(only).forEach(row => inside(children(row).at(-1)));
    else if (inRow(only)) adaptor.addClass(box, 'mjx-long'); // \displaystyle
  }
  inside(math);
}

/* Takes from a formula what neither its style sheet, a browser nor a screen reader needs. */
function slim(adaptor, node) {
  if (adaptor.kind(node) === '#text') return;
  for (const { name } of adaptor.allAttributes(node)) {
    if (name === 'xmlns' || name === 'texclass' || name.startsWith('data-mjx-')) adaptor.removeAttribute(node, name);
  }
  for (const child of adaptor.childNodes(node)) slim(adaptor, child);
}

(async () => {
  const { mathjax, macros, fonts, formulas } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const MathJax = await require(mathjax + '/node-main.js').init({
    loader: { paths: { mathjax }, load: ['input/tex', 'output/chtml', 'a11y/assistive-mml', 'adaptors/liteDOM'], require, versionWarnings: false },
    tex: { macros, packages: { '[-]': ['noundefined'] }, formatError: (_, error) => { throw error; } },
    chtml: { matchFontHeight: false, fontURL: fonts },
    startup: { typeset: false },
  });
  const adaptor = MathJax.startup.adaptor, html = [], errors = [];
  for (const [tex, display] of formulas) {
    try {
      const drawn = await MathJax.tex2chtmlPromise(tex, { display });
      allowBreaks(adaptor, adaptor.firstChild(drawn));
      slim(adaptor, drawn);
      errors.push(null);
      html.push(adaptor.outerHTML(drawn));
    } catch (error) {
      errors.push(error.message);
      html.push(null);
    }
  }
  const css = adaptor.textContent(MathJax.chtmlStylesheet());
  process.stdout.write(JSON.stringify({ html, errors, css }));
})();
