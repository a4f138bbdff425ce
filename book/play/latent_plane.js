/* The page "Walk the latent plane": a point z, and what the decoder makes of it. */
"use strict";
((dgm) => {
  const NEIGHBOURS = 25, STEP = 0.1, SEED = 0;
  const TAB10 = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
  const PRIOR_MASSES = [0.5, 0.95];

  const root = document.getElementById("latent-plane");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  root.hidden = false;

  const decoder = new dgm.MLPDecoder(dgm.assets.decoder), codes = dgm.unpack_codes(dgm.assets.codes);
  const limit = dgm.assets.codes.limit, limits = [-limit, limit];
  const generator = dgm.generator(SEED);
  const state = { z: [0, 0], sampled: false, coins: [], logits: null, probabilities: null, image: null };

  const toss = () => (state.coins = Array.from({ length: decoder.data_dim }, generator.uniform));

  /* The k nearest encoded test digits: the label most of them have, how many have it, and how far the last one is. */
  function nearest_digits([z1, z2], k = NEIGHBOURS) {
    const near = []; // the nearest so far, in order: [squared distance, label]
    for (let i = 0; i < codes.label.length; i++) {
      const distance = (codes.z1[i] - z1) ** 2 + (codes.z2[i] - z2) ** 2;
      if (near.length === k && distance >= near[k - 1][0]) continue;
      let place = near.length;
      while (place && near[place - 1][0] > distance) place--;
      near.splice(place, 0, [distance, codes.label[i]]);
      near.length = Math.min(near.length, k);
    }
    const counts = new Array(10).fill(0);
    for (const [, label] of near) counts[label]++;
    const count = Math.max(...counts);
    return { label: counts.indexOf(count), count, radius: Math.sqrt(near.at(-1)[0]) };
  }

  /* ---- what is shown ---- */

  /* Move places apart, as little as it takes, until no two are nearer than a distance in pixels. */
  function spread(places, distance) {
    for (let round = 0; round < 100; round++)
      for (let a = 0; a < places.length; a++)
        for (let b = 0; b < a; b++) {
          const gap = places[a].map((value, i) => value - places[b][i]), now = Math.hypot(...gap) || 1e-6;
          if (now >= distance) continue;
          const share = (distance - now) / now / 2;
          places[a] = places[a].map((value, i) => value + share * gap[i]);
          places[b] = places[b].map((value, i) => value - share * gap[i]);
        }
    return places;
  }

  /* Behind the point: prior circles, encoded digits, and each digit's name near its median. Painted once per size. */
  function background(plot, colours) {
    const layer = document.createElement("canvas"), pen = layer.getContext("2d");
    [layer.width, layer.height] = [plot.canvas.width, plot.canvas.height];
    pen.scale(plot.ratio, plot.ratio);
    pen.font = plot.pen.font;
    pen.globalAlpha = 0.5;
    const size = Math.max(1.2, plot.inner.width / 260);
    for (let i = 0; i < codes.label.length; i++) {
      const [x, y] = plot.pixel([codes.z1[i], codes.z2[i]]);
      pen.fillStyle = TAB10[codes.label[i]];
      pen.fillRect(x - size / 2, y - size / 2, size, size);
    }
    pen.globalAlpha = 1;
    pen.textAlign = "center";
    for (const mass of PRIOR_MASSES) {
      const radius = Math.sqrt(-2 * Math.log(1 - mass)), [x, y] = plot.pixel([0, 0]);
      const [edge] = plot.pixel([radius, 0]);
      pen.setLineDash([5, 4]);
      [pen.strokeStyle, pen.lineWidth] = [colours.ink, 1.4];
      pen.beginPath();
      pen.arc(x, y, edge - x, 0, 2 * Math.PI);
      pen.stroke();
      pen.setLineDash([]);
      dgm.label(pen, `${100 * mass} %`, [x, y + edge - x + 5], colours);
    }
    const median = (values) => values.sort()[values.length >> 1];
    const names = Array.from({ length: 10 }, (_, k) => {
      const of_class = (values) => values.filter((_, i) => codes.label[i] === k);
      return plot.pixel([median(of_class(codes.z1)), median(of_class(codes.z2))]);
    });
    for (const [k, [x, y]] of spread(names, 21).entries()) {
      pen.fillStyle = colours.paper;
      dgm.dot(pen, [x, y], 9);
      [pen.strokeStyle, pen.lineWidth, pen.fillStyle] = [TAB10[k], 2, colours.ink];
      pen.stroke();
      pen.fillText(String(k), x, y + 4.5);
    }
    return layer;
  }

  function paint_plane(plot, pen, colours) {
    plot.behind ??= background(plot, colours);
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(plot.behind, 0, 0);
    pen.restore();
    const at = plot.pixel(state.z);
    for (const [radius, colour] of [[10, colours.paper], [8, colours.ink], [5, colours.orange]]) {
      pen.fillStyle = colour;
      dgm.dot(pen, at, radius);
    }
    paint_digit(colours);
  }

  /* Ink on paper, as in the book's figures: 0 is paper. */
  function paint_digit(colours) {
    const canvas = part("digit"), pen = canvas.getContext("2d"), picture = pen.createImageData(28, 28);
    const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const paper = rgb(colours.paper), ink = rgb(colours.ink);
    state.image.forEach((value, d) => {
      for (let c = 0; c < 3; c++) picture.data[4 * d + c] = Math.round(paper[c] + value * (ink[c] - paper[c]));
      picture.data[4 * d + 3] = 255;
    });
    pen.putImageData(picture, 0, 0);
  }

  const say = dgm.speaker(part("status"));

  function show() {
    const { label, count, radius } = nearest_digits(state.z), { probabilities } = state;
    state.image = state.sampled ? probabilities.map((p, d) => (state.coins[d] < p ? 1 : 0)) : probabilities;
    const z = dgm.point(state.z);
    const values = {
      z,
      neighbours: `${label} (${count} of ${NEIGHBOURS})`,
      radius: `within ${dgm.number(radius, 2)}`,
      log_prior: `${dgm.number(dgm.log_standard_normal(state.z), 2)} nats`,
      entropy: `${dgm.number(dgm.entropy_bernoulli(state.logits), 1)} nats`,
    };
    for (const [name, value] of Object.entries(values)) part(name).textContent = value;
    state.z.forEach((value, i) => {
      const slider = part(`z${i + 1}`);
      slider.value = value;
      slider.setAttribute("aria-valuetext", dgm.number(value, 2));
      part(`z${i + 1}_text`).textContent = dgm.number(value, 2);
    });
    const kind = state.sampled ? "Binary sample" : "Pixel probabilities";
    const text = `z = ${z}. ${kind}; of the ${NEIGHBOURS} nearest test digits ${count} are ${label}.`;
    part("digit").setAttribute("aria-label", text);
    say(`${text} log p(z) ${values.log_prior}, entropy of the pixels ${values.entropy}.`);
    plot.refresh();
  }

  function move_to(z) {
    state.z = z.map((value) => dgm.clamp(value, -limit, limit));
    state.logits = decoder.forward(state.z);
    state.probabilities = state.logits.map(dgm.sigmoid);
    show();
  }

  /* ---- what is listened to ---- */

  const plane = part("plane");
  const plot = new dgm.Plot(plane, { x: limits, y: limits, paint: () => {} });

  plane.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    plane.setPointerCapture(event.pointerId); // a drag goes on outside of the canvas
    move_to(plot.under(event));
  });
  plane.addEventListener("pointermove", (event) => {
    if (plane.hasPointerCapture(event.pointerId)) move_to(plot.under(event));
  });
  plane.addEventListener("keydown", (event) => {
    const move = event.key === "Home" ? state.z.map((value) => -value) : dgm.arrow(event, STEP);
    if (!move) return;
    event.preventDefault(); // arrows would scroll the page
    move_to(state.z.map((value, i) => value + move[i]));
  });

  for (const i of [0, 1]) {
    const slider = part(`z${i + 1}`);
    [slider.min, slider.max, slider.step] = [-limit, limit, 0.01];
    slider.addEventListener("input", () => move_to(state.z.map((value, j) => (i === j ? Number(slider.value) : value))));
  }
  part("sampled").addEventListener("change", (event) => {
    state.sampled = event.target.checked;
    part("toss").disabled = !state.sampled;
    show();
  });
  part("toss").addEventListener("click", () => {
    toss();
    show();
  });
  part("prior").addEventListener("click", () => move_to([generator.normal(), generator.normal()]));

  part("sampled").checked = false; // some browsers keep it over a reload
  part("toss").disabled = true;
  toss();
  plot.paint_inside = paint_plane;
  move_to([0, 0]);
  dgm.latent_plane = { state, plot, move_to, nearest_digits, decoder, codes };
})((window.dgm ??= {}));
