/* Practice mode: fold the solutions, show the hints, and remember the choice. See book/_ext/dgm_practice.py. */
(() => {
  const root = document.documentElement, KEY = 'dgm-practice';
  const button = document.querySelector('.dgm-practice button');
  const solutions = [...document.querySelectorAll('details.dgm-solution')];
  const folds = [...document.querySelectorAll('details:is(.dgm-solution, .sd-dropdown)')]; // with the asides
  if (!button) return;

  // a browser may have no storage for us: then the choice lasts as long as the page
  function remember(on) {
    try { localStorage.setItem(KEY, on ? 'on' : 'off'); } catch { /* nothing to do */ }
  }
  function remembered() {
    try { return localStorage.getItem(KEY) === 'on'; } catch { return root.dataset.practice === 'on'; }
  }
  const unfold = some => some.forEach(fold => { fold.open = true; });

  function turn(on) {
    root.dataset.practice = on ? 'on' : 'off';
    button.setAttribute('aria-checked', String(on));
    solutions.forEach(fold => { fold.open = !on; });
  }

  /* Open everything around an element; true if anything was closed. */
  function reveal(element) {
    const closed = [];
    for (let fold = element?.closest('details'); fold; fold = fold.parentElement.closest('details')) {
      if (!fold.open) closed.push(fold);
    }
    unfold(closed);
    return closed.length > 0;
  }
  function revealTarget(hash) {
    let target = null;
    try { target = document.getElementById(decodeURIComponent(hash.slice(1))); } catch { /* not an anchor of ours */ }
    const all = target?.closest('section')?.querySelector(':scope > details[data-all]'); // its heading is outside
    const opened = [target, all].map(reveal).some(Boolean);
    // also where the browser opened it by itself: its smooth way there ends where the target was before
    if (opened || (root.dataset.practice === 'on' && target?.closest('details'))) {
      target.scrollIntoView({ behavior: 'instant' });
    }
  }

  button.addEventListener('click', () => {
    const on = root.dataset.practice !== 'on';
    turn(on);
    remember(on);
  });
  window.addEventListener('storage', event => { if (event.key === KEY) turn(remembered()); });
  window.addEventListener('pageshow', event => {
    if (event.persisted && remembered() !== (root.dataset.practice === 'on')) turn(remembered());
  });

  // links into a folded solution, from another page, from this one, and a second time to the same place
  window.addEventListener('hashchange', () => revealTarget(location.hash));
  document.addEventListener('click', event => {
    const link = event.target.closest?.('a[href*="#"]');
    if (link && link.href.split('#')[0] === location.href.split('#')[0]) revealTarget(link.hash);
  });

  // what the book's own search found is marked a moment after the page is there
  const marks = new MutationObserver(changes => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) if (node.classList?.contains('highlighted')) reveal(node);
    }
  });
  marks.observe(document.querySelector('.bd-article'), { childList: true, subtree: true });
  window.addEventListener('load', () => setTimeout(() => marks.disconnect(), 1000));

  // what the browser's own search found: most browsers open a fold by themselves, for the others open all
  document.addEventListener('keydown', event => {
    const find = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'f';
    if (find && !('onbeforematch' in document.body)) unfold(folds);
  });

  let closedForPrint = [];
  window.addEventListener('beforeprint', () => {
    closedForPrint = folds.filter(fold => !fold.open);
    unfold(closedForPrint);
  });
  window.addEventListener('afterprint', () => { closedForPrint.forEach(fold => { fold.open = false; }); });

  turn(root.dataset.practice === 'on');
  root.dataset.folds = 'ready';
  revealTarget(location.hash);
})();
