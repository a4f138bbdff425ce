/* A box that scrolls must be reachable by keyboard, and one that does not must not stand in its way. Boxes are measured
   when they come near the window, where they are laid out anyway; at the first Tab, all of them. Until then, and until
   a link within the page is followed, what is far away is not laid out: see data-lazy in dgm.css. */
(() => {
  // a browser refuses to fetch the result pages' text from disk, an error in the console for each result
  if (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // The sidebar's arrows say what they unfold. A button is called what it says (MyST-NB names it otherwise), and a list of
  // citations, whose entries are no list items, is none.
  for (const arrow of document.querySelectorAll('.bd-sidebar-primary li > details > summary')) {
    arrow.ariaLabel = `Below: ${arrow.closest('li').querySelector('a').textContent.trim()}`;
  }
  document.querySelectorAll('details.hide > summary').forEach(button => button.removeAttribute('aria-label'));
  document.querySelectorAll('.citation-list, .citation').forEach(list => list.removeAttribute('role'));

  const root = document.documentElement, near = new Set();
  const boxes = '.bd-article :is(mjx-container, .math, .cell_output, pre, .pst-scrollable-table-container),'
    + ' .cell_output > .output';
  let waiting = false;

  function reach(candidates) {
    const found = candidates.map(box => [
      box, box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX),
    ]);
    for (const [box, scrolls] of found) {
      // the theme, too, puts what scrolls on the keyboard's way, but looks before the typefaces are there
      if (scrolls === 'reached' in box.dataset && (scrolls || box.tabIndex < 0)) continue;
      if (scrolls) [box.tabIndex, box.dataset.reached] = [0, ''];
      else { box.removeAttribute('tabindex'); delete box.dataset.reached; }
    }
  }
  const every = () => [...document.querySelectorAll(boxes)];

  /* After the next frame, when the layout is known and reading it costs nothing. */
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => setTimeout(() => {
      waiting = false;
      reach('lazy' in root.dataset ? [...near] : every());
    }));
  }

  const watch = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) near[isIntersecting ? 'add' : 'delete'](target);
    soon();
  }, { rootMargin: '50% 0px' });
  window.addEventListener('load', () => every().forEach(box => watch.observe(box)));
  window.addEventListener('resize', soon);
  document.addEventListener('toggle', soon, true); // what was folded had no width

  function whole() {
    if (!('lazy' in root.dataset)) return;
    delete root.dataset.lazy;
    soon();
  }
  window.addEventListener('keydown', event => { if (event.key === 'Tab') whole(); }, true);
  /* Arrow keys turn the pages (an option of the theme), but not within what scrolls or moves by them. */
  document.body.addEventListener('keydown', event => {
    if (event.key.startsWith('Arrow') && event.target.closest('[tabindex]:not([tabindex="-1"])')) event.stopPropagation();
  });
  window.addEventListener('hashchange', whole, true); // before practice.js scrolls: heights are then the true ones
  document.addEventListener('click', event => { if (event.target.closest?.('a[href*="#"]')) whole(); }, true);
})();
