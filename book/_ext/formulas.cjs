// Sets formulas. Reads {mathjax, macros, fonts, formulas: [{tex, display}]} as JSON, writes {html: [...], css}.
const { mathjax, macros, fonts, formulas } = JSON.parse(require('fs').readFileSync(0, 'utf8'));

(async () => {
  const MathJax = await require(mathjax + '/node-main.js').init({
    loader: { paths: { mathjax }, load: ['input/tex', 'output/chtml', 'a11y/assistive-mml', 'adaptors/liteDOM'], require },
    tex: { macros, packages: { '[-]': ['noundefined'] } }, // an unknown command is an error
    chtml: { matchFontHeight: false, fontURL: fonts },
    startup: { typeset: false },
  });
  const adaptor = MathJax.startup.adaptor, html = [];
  for (const { tex, display } of formulas) html.push(adaptor.outerHTML(await MathJax.tex2chtmlPromise(tex, { display })));
  process.stdout.write(JSON.stringify({ html, css: adaptor.textContent(MathJax.chtmlStylesheet()) }));
})().catch(error => { console.error(error); process.exit(1); });
