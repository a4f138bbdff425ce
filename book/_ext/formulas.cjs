// Sets formulas: a line of JSON in, a line of JSON out. First {mathjax, macros, fonts}; then {tex, display} gives {html}
// or {error}, and {css: true} the style sheet of all formulas so far.
const lines = require('readline').createInterface({ input: process.stdin });

const LONG = 16; // glyphs; a formula with more may be broken on a phone, where dgm.css says what an <mjx-break> does
const OPEN = '( [ { 27E8', CLOSE = ') ] } 27E9', BARS = '| 2223 2225 2016', SUMS = '+ 2212';
const code = sign => (sign.length > 1 ? sign : sign.charCodeAt(0).toString(16).toUpperCase());
const codes = signs => new Set(signs.split(' ').map(code));
const [open, close, bars, sums] = [OPEN, CLOSE, BARS, SUMS].map(codes);

/* Marks where a formula may be broken: before a relation, before + and -, and at the space between two formulas; not
   between brackets of the text's size, nor between bars. `adaptor` is MathJax's. */
function allowBreaks(adaptor, math) {
  const kind = node => adaptor.kind(node), children = node => (kind(node) === '#text' ? [] : adaptor.childNodes(node));
  const glyphs = node => (kind(node) === 'mjx-c' ? [node] : children(node).flatMap(glyphs));
  const isLong = node => glyphs(node).length > LONG;

  // [code, whether it is large] of the only glyph of a sign, also of one such as \bigl( or in )^2
  function sign(node) {
    if (['mjx-msup', 'mjx-msub', 'mjx-msubsup'].includes(kind(node))) return sign(children(node)[0]);
    const only = ['mjx-mo', 'mjx-TeXAtom'].includes(kind(node)) ? glyphs(node) : [];
    const glyph = only.length === 1 ? adaptor.getAttribute(only[0], 'class') : '';
    return [/mjx-c([0-9A-F]+)/.exec(glyph)?.[1], /TEX-S/.test(glyph)];
  }

  // whether it is a \quad or a \qquad
  function isWide(node) {
    if (kind(node) === 'mjx-mstyle') return children(node).length === 1 && isWide(children(node)[0]);
    return kind(node) === 'mjx-mspace' && parseFloat(adaptor.getStyle(node, 'width')) >= 1;
  }

  // puts each of several formulas in a row in a piece of its own, which goes to the next line as a whole if it can
  function gather(row) {
    if (!children(row).some(node => adaptor.hasClass(node, 'mjx-wide'))) return;
    let piece = null;
    for (const part of [...children(row)]) {
      if (adaptor.hasClass(part, 'mjx-wide') || isWide(part)) {
        piece = null;
        continue;
      }
      if (!piece) adaptor.insert(piece = adaptor.node('mjx-piece', { class: 'mjx-long' }), part);
      adaptor.remove(part);
      adaptor.append(piece, part);
    }
  }

  // whether there is a place to break a row; between large brackets, if `within`
  function inRow(row, within = 0) {
    if (!isLong(row)) return false;
    let small = 0, large = within, between = false, before = null, found = false;
    for (const part of within ? children(row).slice(1, -1) : children(row)) {
      const [code, isLarge] = sign(part), spaced = adaptor.getAttribute(part, 'space');
      const step = open.has(code) - close.has(code), isRelation = kind(part) === 'mjx-mo' && spaced === '4';
      if (step && isLarge) large += step;
      else if (step) small += step;
      else if (bars.has(code)) {
        if (!small && !isRelation) between = !between; // unlike \mid
      }
      else if (!small && !between && before) {
        const wide = isWide(part), relation = isRelation && before !== 'relation' && !large;
        if (wide || relation || (sums.has(code) && spaced === '3')) {
          adaptor.insert(adaptor.node('mjx-break', wide ? { class: 'mjx-wide' } : {}), part);
          found = true;
        }
        if (kind(part) === 'mjx-mrow') found = inRow(part, 1) || found;
      }
      if (isRelation) before = 'relation';
      else if (glyphs(part).length) before = 'other';
    }
    if (found) {
      adaptor.addClass(row, 'mjx-long');
      gather(row);
    }
    return found;
  }

  // the rows of a table, also of one in the only cell of another (Sphinx puts {split} around {aligned})
  const rows = node => (kind(node) === 'mjx-mtr' ? [node] : children(node).flatMap(rows));
  function inside(box) {
    const [only, ...more] = children(box).filter(node => kind(node) !== 'mjx-tstrut');
    if (!only || more.length || !['mjx-mtable', 'mjx-mstyle'].includes(kind(only))) return inRow(box);
    if (kind(only) === 'mjx-mstyle') return inRow(only) && adaptor.addClass(box, 'mjx-long'); // \displaystyle
    for (const row of rows(only)) inside(children(row).at(-1));
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

async function start({ mathjax, macros, fonts }) {
  const MathJax = await require(mathjax + '/node-main.js').init({
    loader: { paths: { mathjax }, load: ['input/tex', 'output/chtml', 'a11y/assistive-mml', 'adaptors/liteDOM'], require, versionWarnings: false },
    tex: { macros, packages: { '[-]': ['noundefined'] }, formatError: (_, error) => { throw error; } },
    chtml: { matchFontHeight: false, fontURL: fonts },
    startup: { typeset: false },
  });
  const adaptor = MathJax.startup.adaptor;
  return async ({ tex, display, css }) => {
    if (css) return { css: adaptor.textContent(MathJax.chtmlStylesheet()) };
    try {
      const drawn = await MathJax.tex2chtmlPromise(tex, { display });
      allowBreaks(adaptor, adaptor.firstChild(drawn));
      slim(adaptor, drawn);
      return { html: adaptor.outerHTML(drawn) };
    } catch (error) {
      return { error: error.message };
    }
  };
}

(async () => {
  let answer = null;
  for await (const line of lines) {
    const question = JSON.parse(line);
    const said = answer ? await answer(question) : ((answer = await start(question)), {});
    process.stdout.write(JSON.stringify(said) + '\n');
  }
})().catch(error => { console.error(error); process.exit(1); });
