/* The page "Launch trajectories on the banana": one chain, transition by transition, and its means. */
"use strict";
((dgm) => {
  const VIEW = { x: [-3.2, 2.2], y: [-2.5, 2.5] }, STEP = 0.1, START = [-0.9, 1.4];
  const MASSES = [0.5, 0.9, 0.99], RUN = 500, PER_FRAME = 5, FLIGHT = 900; // milliseconds of one trajectory
  const BATCHES = 20, POINTS = 1000; // of the running mean that are drawn

  const root = document.getElementById("banana-hmc");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  root.hidden = false;

  const target = new dgm.Banana(dgm.assets.banana), { exact_mean } = dgm.assets.banana;
  const grid = dgm.grid_2d(target.log_density, [-4, 3], [-3, 3], 0.025);
  const contours = dgm.contour_levels(grid, MASSES).map((level) => dgm.contour(grid, level));
  const state = {};

  /* ---- the chain ---- */

  /* As many whole steps as come nearest to the wanted path length, at least one. */
  function settings() {
    const step_size = Number(part("step_size").value), wanted = Number(part("path_length").value);
    return { step_size, num_steps: Math.max(1, Math.round(wanted / step_size)) };
  }

  /* Forget the draws: the chain begins anew at a point, or goes on from where it is. */
  function restart(position) {
    Object.assign(state, {
      position, running: 0, last: null, path: [], shown: 0,
      visits: [{ position, count: 0 }], // places and how many draws each is
      rejected: [], // where proposals ended that were not accepted
      samples: [], accepted: 0, sums: [0, 0], means: [], range: [-0.2, 1],
    });
  }

  function reset() {
    state.generator = dgm.generator(Number(part("seed").value));
    restart(START);
  }

  function transition() {
    const path = [{ position: state.position, energy_error: 0 }], energies = [];
    const visit = (position, momentum) => {
      energies.push(dgm.energy(target.log_density, position, momentum));
      path.push({ position });
    };
    const last = dgm.transition(target, state.position, { ...settings(), generator: state.generator, visit });
    energies.forEach((energy, i) => (path[i + 1].energy_error = energy - last.before));
    Object.assign(state, { last, path, shown: path.length, position: last.position });
    if (last.accepted) state.visits.push({ position: last.position, count: 0 });
    else state.rejected.push(last.proposal);
    state.visits.at(-1).count++; // a rejected proposal repeats the state
    state.samples.push(last.position);
    state.accepted += last.accepted;
    state.sums = state.sums.map((sum, i) => sum + last.position[i]);
    const mean = state.sums[0] / state.samples.length;
    state.means.push(mean);
    state.range = [Math.min(state.range[0], mean), Math.max(state.range[1], mean)];
  }

  /* Standard error of the mean by batches: draws of one chain depend on each other, means of long batches little. */
  function batch_error(i) {
    const size = Math.floor(state.samples.length / BATCHES);
    if (size < 10) return null;
    const means = Array.from({ length: BATCHES }, (_, b) =>
      state.samples.slice(b * size, (b + 1) * size).reduce((sum, q) => sum + q[i], 0) / size);
    const mean = means.reduce((sum, m) => sum + m) / BATCHES;
    return Math.sqrt(means.reduce((sum, m) => sum + (m - mean) ** 2, 0) / (BATCHES - 1) / BATCHES);
  }

  /* ---- pictures ---- */

  const near = (plot, point) => plot.pixel(point).every((c) => Math.abs(c) < 1e4); // no pen draws to infinity

  function cross(pen, [x, y], size) {
    dgm.line(pen, [[x - size, y - size], [x + size, y + size]]);
    dgm.line(pen, [[x - size, y + size], [x + size, y - size]]);
  }

  function paint_plane(plot, pen, colours) {
    pen.strokeStyle = colours.ink;
    contours.forEach((segments, i) => {
      pen.lineWidth = 1.8 - 0.45 * i;
      pen.beginPath();
      for (const [a, b] of segments) {
        pen.moveTo(...plot.pixel(a));
        pen.lineTo(...plot.pixel(b));
      }
      pen.stroke();
    });
    pen.lineWidth = 1.2;
    pen.strokeStyle = colours.red;
    pen.globalAlpha = 0.45;
    for (const point of state.rejected.slice(-300)) if (near(plot, point)) cross(pen, plot.pixel(point), 3);
    pen.globalAlpha = 0.6;
    pen.fillStyle = colours.blue;
    for (const { position, count } of state.visits)
      if (count) dgm.dot(pen, plot.pixel(position), 2.2 * Math.sqrt(count)); // area in proportion to the count
    pen.globalAlpha = 1;
    paint_path(plot, pen, colours);
    const { position, count } = state.visits.at(-1), at = plot.pixel(position);
    const flying = state.shown < state.path.length, moved = state.last?.accepted;
    if (!flying || !moved) {
      [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [colours.blue, colours.paper, 2];
      dgm.dot(pen, at, 7);
      pen.stroke();
      pen.textAlign = "left";
      if (count) dgm.label(pen, `×${count}`, [at[0] + 10, at[1] - 8], colours);
    }
  }

  function paint_path(plot, pen, colours) {
    const points = state.path.slice(0, state.shown).map((point) => point.position);
    const lost = points.findIndex((point) => !near(plot, point)); // where a path that breaks down leaves the picture
    const visible = lost < 0 ? points : points.slice(0, lost);
    [pen.strokeStyle, pen.fillStyle, pen.lineWidth] = [colours.orange, colours.orange, 1.6];
    dgm.line(pen, visible.map((point) => plot.pixel(point)));
    for (const point of visible) dgm.dot(pen, plot.pixel(point), 3);
    if (state.shown < state.path.length || !state.last || visible.length < points.length) return;
    if (state.last.accepted) return;
    [pen.strokeStyle, pen.lineWidth] = [colours.red, 3];
    cross(pen, plot.pixel(state.last.proposal), 6);
  }

  /* H along the path, less H at its start. */
  function paint_energy(plot, pen, colours) {
    const points = state.path.slice(0, state.shown).map((point, i) => [i, point.energy_error]);
    const finite = points.filter(([, error]) => Number.isFinite(error)).map((point) => plot.pixel(point));
    [pen.strokeStyle, pen.lineWidth] = [colours.ink, 1.2];
    dgm.line(pen, [[plot.x[0], 0], [plot.x[1], 0]].map((point) => plot.pixel(point)));
    [pen.strokeStyle, pen.fillStyle, pen.lineWidth] = [colours.orange, colours.orange, 1.6];
    dgm.line(pen, finite);
    for (const point of finite) dgm.dot(pen, point, 2.5);
  }

  function paint_means(plot, pen, colours) {
    [pen.strokeStyle, pen.lineWidth] = [colours.ink, 1.8];
    dgm.line(pen, plot.x.map((x) => plot.pixel([x, exact_mean[0]])));
    pen.strokeStyle = colours.blue;
    pen.lineWidth = 1.6;
    const every = Math.ceil(state.means.length / POINTS), last = state.means.length - 1, points = [];
    for (let i = 0; i < last; i += every) points.push([i + 1, state.means[i]]);
    if (last >= 0) points.push([last + 1, state.means[last]]);
    dgm.line(pen, points.map((point) => plot.pixel(point)));
  }

  /* ---- numbers ---- */

  const say = dgm.speaker(part("status"));
  const set = (name, text) => (part(name).textContent = text);

  function verdict() {
    const { last } = state;
    if (!last) return "not launched yet";
    if (!last.finite) return "broke down: the energy is not finite, rejected";
    return last.accepted ? "accepted" : "rejected: the state is repeated";
  }

  function with_error(value, error) {
    return dgm.number(value, 3) + (error === null ? "" : ` ± ${dgm.number(error, 3)}`);
  }

  function show() {
    const { step_size, num_steps } = settings(), { last, samples, visits } = state, n = samples.length;
    set("step_size_text", step_size.toFixed(2));
    set("path_length_text", dgm.number(step_size * num_steps, 2));
    part("path_length").setAttribute("aria-valuetext", `${dgm.number(step_size * num_steps, 2)}, in ${num_steps} steps`);
    set("num_steps", String(num_steps));
    set("state", dgm.point(state.position));
    set("count", `${visits.at(-1).count}×`);
    set("energy_error", last ? `${dgm.number(last.energy_error, 3)} nats` : "–");
    set("accept_prob", last ? dgm.number(last.accept_prob, 3) : "–");
    set("verdict", verdict());
    part("verdict").dataset.accepted = last ? String(last.accepted) : "";
    set("draws", String(n));
    set("places", String(visits.filter(({ count }) => count).length));
    set("accept_rate", n ? dgm.number(state.accepted / n, 3) : "–");
    for (const i of [0, 1]) {
      set(`mean_${i + 1}`, n ? with_error(state.sums[i] / n, batch_error(i)) : "–");
      set(`exact_${i + 1}`, dgm.number(exact_mean[i], 3));
    }
    set("run", state.running ? "Stop" : `Run ${RUN}`);
    const errors = state.path.map((point) => point.energy_error).filter(Number.isFinite);
    const [low, high] = [Math.min(0, ...errors), Math.max(0, ...errors)], span = Math.max(high - low, 0.02);
    energy.x = [0, Math.max(1, state.path.length - 1)];
    energy.y = [low - 0.1 * span, high + 0.1 * span + (high - low < span ? span : 0)];
    means.x = [0, Math.max(20, n)];
    means.y = state.range;
    for (const plot of [plane, energy, means]) plot.refresh();
    if (!state.running)
      say(`${last ? `Trajectory ${verdict()}. Energy error ${part("energy_error").textContent}, acceptance probability ` +
        `${part("accept_prob").textContent}. ` : ""}State ${part("state").textContent}, counted ${part("count").textContent}. ${n} ${n === 1 ? "draw" : "draws"}` +
        (n ? `, acceptance rate ${part("accept_rate").textContent}, mean of θ₁ ${part("mean_1").textContent}.` : "."));
  }

  /* ---- motion: the transition is done at once, and only its picture takes time ---- */

  function launch() {
    state.running = 0;
    transition();
    if (!dgm.reduced_motion()) fly(state.path, performance.now());
    show();
  }

  function fly(path, begun) {
    state.shown = 1;
    const frame = (now) => {
      if (state.path !== path) return; // another one was launched
      state.shown = Math.min(path.length, 1 + Math.floor(((now - begun) / FLIGHT) * path.length));
      plane.refresh();
      energy.refresh();
      if (state.shown < path.length) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  function run() {
    if (state.running) state.running = 0;
    else {
      state.running = RUN;
      requestAnimationFrame(more);
    }
    show();
  }

  function more() {
    const now = Math.min(state.running, dgm.reduced_motion() ? RUN : PER_FRAME);
    for (let i = 0; i < now; i++) transition();
    state.running -= now;
    show();
    if (state.running) requestAnimationFrame(more);
  }

  function move_to(position) {
    restart(position.map((value, i) => dgm.clamp(value, ...[VIEW.x, VIEW.y][i])));
    show();
  }

  /* ---- what is listened to ---- */

  const canvas = part("plane");
  reset();
  const plane = new dgm.Plot(canvas, { ...VIEW, paint: paint_plane });
  const energy = new dgm.Plot(part("energy"), {
    x: [0, 1], y: [-1, 1], height: 170, paint: paint_energy,
  });
  const means = new dgm.Plot(part("means"), {
    x: [0, 20], y: [-0.2, 1], height: 170, paint: paint_means,
  });

  canvas.addEventListener("click", (event) => {
    move_to(plane.under(event));
    launch();
  });
  canvas.addEventListener("keydown", (event) => {
    const move = dgm.arrow(event, STEP);
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // arrows and the space bar would scroll the page
    if (move) move_to(state.position.map((value, i) => value + move[i]));
    else launch();
  });
  for (const name of ["step_size", "path_length"]) part(name).addEventListener("input", show);
  part("launch").addEventListener("click", launch);
  part("run").addEventListener("click", run);
  part("drop").addEventListener("click", () => {
    restart(state.position);
    show();
  });
  const start_over = () => {
    reset();
    show();
  };
  part("reset").addEventListener("click", start_over);
  part("seed").addEventListener("change", start_over);

  show();
  dgm.banana_hmc = { state, plane, target, grid, contours, settings, MASSES };
})((window.dgm ??= {}));
