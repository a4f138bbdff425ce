/* A box that scrolls must be reachable by keyboard. The theme sees to code and tables; formulas and outputs are ours. */
(() => {
  const boxes = '.bd-article :is(mjx-container, .math, .cell_output)';
  function reach() {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
      if (scrolls === 'reached' in box.dataset) continue;
      if (scrolls) [box.tabIndex, box.dataset.reached] = [0, ''];
      else { box.removeAttribute('tabindex'); delete box.dataset.reached; }
    }
  }
  reach();
  window.addEventListener('load', reach);
  window.addEventListener('resize', reach);
  document.addEventListener('dgm:formulas', reach);
  document.addEventListener('toggle', reach, true); // what was folded had no width
})();
