/* Formulas: MathJax is fetched when a formula comes near the window, or the page has been quiet for a while, in the
   parts that the book uses. It sets what is near first, a few formulas at a time, so that the page answers meanwhile.
   Its menu, a third of it all, is fetched when asked for. Whoever reads MathJax.startup.promise wants all set now. */
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, '') + 'mathjax/';
  const QUIET = 1500, SLICE = 10; // milliseconds: after the page has loaded, and of work in one go
  const config = window.MathJax ??= {};
  let done, hurry, wake = () => {};
  const all = new Promise(resolve => { done = resolve; });
  const wanted = new Promise(resolve => { hurry = resolve; });
  config.loader = { load: ['core', 'input/tex', 'output/chtml', 'a11y/assistive-mml'] };
  config.startup = { pageReady: setFormulas };
  const promise = { get() { hurry(); return all; }, enumerable: false, configurable: true };
  Object.defineProperty(config.startup, 'promise', promise);

  const left = new Set(document.querySelectorAll('.math')), near = new Set();
  const watch = new IntersectionObserver(seen => {
    for (const { target, isIntersecting } of seen) if (isIntersecting && left.has(target)) near.add(target);
    if (near.size) fetchMathJax();
    wake();
  }, { rootMargin: '50% 0px' });
  left.forEach(formula => watch.observe(formula));

  const set = where => MathJax._.mathjax.mathjax.handleRetriesFor(() => MathJax.typeset(where));
  async function setFormulas() {
    let everything = false, atOnce = 4;
    Object.defineProperty(MathJax.startup, 'promise', promise);
    wanted.then(() => { everything = true; wake(); });
    while (left.size) {
      const batch = [...(near.size ? near : everything ? left : [])].slice(0, atOnce);
      if (!batch.length) {
        document.dispatchEvent(new Event('dgm:formulas'));
        await new Promise(go => { wake = go; });
        continue;
      }
      const start = performance.now();
      await set(batch);
      for (const formula of batch) { left.delete(formula); near.delete(formula); watch.unobserve(formula); }
      atOnce = Math.min(16, Math.max(1, Math.round(batch.length * SLICE / (performance.now() - start))));
      await new Promise(go => setTimeout(go));
    }
    await wanted;
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
    await MathJax.startup.promise; // the menu must know every formula
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

  let fetched = false;
  function fetchMathJax() {
    if (fetched) return;
    fetched = true;
    document.head.append(Object.assign(document.createElement('script'), { src: folder + 'startup.js' }));
  }
  wanted.then(fetchMathJax);
  if (document.hidden) hurry(); // there is nothing to wait for
  window.addEventListener('beforeprint', hurry);
  window.addEventListener('load', () => setTimeout(() => (window.requestIdleCallback ?? setTimeout)(hurry), QUIET));
})();
