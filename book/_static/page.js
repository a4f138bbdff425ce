/* A box that scrolls must be reachable by keyboard. The theme sees to code and tables; formulas and outputs are ours. */
(() => {
  const boxes = '.bd-article :is(mjx-container, .math, .cell_output)';
  let waiting = false;
  function reach() {
    waiting = false;
    const found = [...document.querySelectorAll(boxes)].map(box => [
      box, box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX),
    ]);
    for (const [box, scrolls] of found) {
      if (scrolls === 'reached' in box.dataset) continue;
      if (scrolls) [box.tabIndex, box.dataset.reached] = [0, ''];
      else { box.removeAttribute('tabindex'); delete box.dataset.reached; }
    }
  }
  /* After the next frame, when the layout is known and reading it costs nothing. */
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => setTimeout(reach));
  }
  window.addEventListener('load', soon);
  window.addEventListener('resize', soon);
  document.addEventListener('toggle', soon, true); // what was folded had no width
})();
