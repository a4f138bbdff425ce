/* Contours of a log-density on a grid, each around a given share of the mass. */
"use strict";
((dgm) => {
  /* Values of log_density on a grid of the rectangle x, y (pairs of limits). */
  dgm.grid_2d = (log_density, x, y, spacing) => {
    const count = ([low, high]) => Math.floor((high - low) / spacing + 1e-6) + 1;
    const columns = count(x), rows = count(y), log_f = new Float64Array(columns * rows);
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < rows; j++) log_f[i * rows + j] = log_density([x[0] + i * spacing, y[0] + j * spacing]);
    return { log_f, columns, rows, origin: [x[0], y[0]], spacing };
  };

  /* Levels of the log-density whose regions hold the given masses: the highest values, until their sum is enough. */
  dgm.contour_levels = ({ log_f }, masses) => {
    const ordered = Float64Array.from(log_f).sort().reverse(), top = ordered[0];
    const weights = ordered.map((value) => Math.exp(value - top));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return masses.map((mass) => {
      let i = 0;
      for (let sum = weights[0]; sum < mass * total; ) sum += weights[++i];
      return ordered[i];
    });
  };

  /* Marching squares, each square cut into two triangles, in which a level is one line: no ambiguous case is left.
     Returns segments [[x, y], [x, y]]. */
  dgm.contour = ({ log_f, columns, rows, origin, spacing }, level) => {
    const segments = [];
    const above = (i, j) => log_f[i * rows + j] > level;
    const corner = (i, j) => ({ i, j, value: log_f[i * rows + j] - level });
    const between = (a, b) => {
      const share = a.value / (a.value - b.value);
      return [
        origin[0] + spacing * (a.i + share * (b.i - a.i)),
        origin[1] + spacing * (a.j + share * (b.j - a.j)),
      ];
    };
    for (let i = 0; i + 1 < columns; i++)
      for (let j = 0; j + 1 < rows; j++) {
        const corners = above(i, j) + above(i + 1, j) + above(i + 1, j + 1) + above(i, j + 1);
        if (corners % 4 === 0) continue; // all on one side: nearly every square
        const [a, b, c, d] = [corner(i, j), corner(i + 1, j), corner(i + 1, j + 1), corner(i, j + 1)];
        for (const [p, q, r] of [[a, b, c], [a, c, d]]) {
          const crossed = [[p, q], [q, r], [r, p]].filter(([s, t]) => s.value > 0 !== t.value > 0);
          if (crossed.length) segments.push(crossed.map(([s, t]) => between(s, t)));
        }
      }
    return segments;
  };
})((window.dgm ??= {}));
