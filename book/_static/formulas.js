/* Formulas: MathJax is fetched after the page's text has been drawn, in the parts that the book uses, and sets a few
   formulas at a time, so that the page answers meanwhile. Its menu, a third of it all, is fetched when asked for. */
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, '') + 'mathjax/';
  const AT_ONCE = 8;
  const config = window.MathJax ??= {};
  let done;
  config.loader = { load: ['core', 'input/tex', 'output/chtml', 'a11y/assistive-mml'] };
  config.startup = { pageReady: setFormulas, promise: new Promise(resolve => { done = resolve; }) };

  const set = where => MathJax._.mathjax.mathjax.handleRetriesFor(() => MathJax.typeset(where));
  async function setFormulas() {
    const left = [...document.querySelectorAll('.math')];
    while (left.length) {
      await set(left.splice(0, AT_ONCE));
      await new Promise(go => setTimeout(go));
    }
    await set(); // what else there is, such as LaTeX that a notebook prints
    document.dispatchEvent(new Event('dgm:formulas'));
    done();
  }

  /* The menu belongs to a document and its formulas: it joins the page when it is first asked for. */
  async function fetchMenu(event) {
    const formula = event.target.closest?.('mjx-container');
    if (!formula || !window.MathJax.startup.document) return;
    document.removeEventListener('contextmenu', fetchMenu);
    event.preventDefault();
    await MathJax.loader.load('ui/menu');
    const before = MathJax.startup.document;
    MathJax.startup.getComponents();
    MathJax.startup.makeMethods();
    const after = MathJax.startup.document;
    after.math = before.math;
    for (const item of after.math) after.menu.addMenu(item);
    formula.dispatchEvent(new MouseEvent('contextmenu', event));
  }
  document.addEventListener('contextmenu', fetchMenu);

  function fetchMathJax() {
    document.head.append(Object.assign(document.createElement('script'), { src: folder + 'startup.js' }));
  }
  if (document.hidden) fetchMathJax(); // there is nothing to wait for
  else requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(fetchMathJax)));
})();
