/* Axes on a canvas, in the colours of the page, sharp on every screen. */
"use strict";
((dgm) => {
  const MARGIN = { left: 30, right: 10, top: 8, bottom: 22 }, STRIP_LEFT = 48; // a strip's numbers are longer

  /* The colours of play.css, as the page now shows them. */
  dgm.colours = () => {
    const style = getComputedStyle(document.querySelector(".dgm-play")), found = {};
    for (const name of ["ink", "muted", "grid", "paper", "blue", "orange", "green", "red"])
      found[name] = style.getPropertyValue(`--play-${name}`).trim();
    return found;
  };

  /* Round numbers between two limits, about as many as wanted. */
  dgm.ticks = (low, high, wanted) => {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.99);
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  };

  /* A true minus sign, and no "-0.00". */
  dgm.number = (value, digits) => {
    if (!Number.isFinite(value)) return "not finite";
    if (Math.abs(value) >= 1e5) return value.toExponential(1).replace("-", "−").replace("e+", "e");
    const text = value.toFixed(digits);
    return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
  };

  dgm.point = (z) => `(${z.map((value) => dgm.number(value, 2)).join(", ")})`;

  dgm.clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  /* What an arrow key asks for, as a move of the point; null for another key. */
  dgm.arrow = (event, step) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    return move && !event.ctrlKey && !event.metaKey && !event.altKey
      ? move.map((d) => d * step * (event.shiftKey ? 5 : 1))
      : null;
  };

  dgm.reduced_motion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  /* Say something to a screen reader once the reader has stopped moving. */
  dgm.speaker = (element, pause = 400) => {
    let waiting;
    return (text) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => (element.textContent = text), pause);
    };
  };

  /* A plot: limits x and y, and paint(plot, pen, colours), which draws inside the axes; what the axes are is said in the
     page, beside the canvas. Both axes have one scale unless a height in pixels is given. It is painted again when its
     width, the limits or the page's colours change. */
  dgm.Plot = class {
    constructor(canvas, { x, y, height = null, paint }) {
      Object.assign(this, { canvas, x, y, height, paint_inside: paint });
      this.pen = canvas.getContext("2d");
      new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
      new MutationObserver(() => this.fit()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      this.fit();
    }

    fit() {
      const width = this.canvas.parentElement.clientWidth;
      if (!width) return; // still hidden
      const left = this.height ? STRIP_LEFT : MARGIN.left;
      this.inner = { left, top: MARGIN.top, width: width - left - MARGIN.right };
      const scale = this.inner.width / (this.x[1] - this.x[0]);
      this.inner.height = this.height ? this.height - MARGIN.top - MARGIN.bottom : scale * (this.y[1] - this.y[0]);
      const height = this.inner.height + MARGIN.top + MARGIN.bottom;
      this.ratio = window.devicePixelRatio || 1;
      [this.canvas.width, this.canvas.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
      [this.canvas.style.width, this.canvas.style.height] = [`${width}px`, `${height}px`];
      this.behind = null; // a page's own cache of what seldom changes
      this.paint();
    }

    /* Paint before the next frame, once however often it is asked for. */
    refresh() {
      this.asked ??= requestAnimationFrame(() => this.paint());
    }

    pixel([x, y]) {
      const { left, top, width, height } = this.inner;
      return [
        left + (width * (x - this.x[0])) / (this.x[1] - this.x[0]),
        top + (height * (this.y[1] - y)) / (this.y[1] - this.y[0]),
      ];
    }

    /* The point of the plane under a pointer, inside the limits. */
    under(event) {
      const box = this.canvas.getBoundingClientRect(), { left, top, width, height } = this.inner;
      const right = (event.clientX - box.left - left) / width, down = (event.clientY - box.top - top) / height;
      return [
        this.x[0] + dgm.clamp(right, 0, 1) * (this.x[1] - this.x[0]),
        this.y[1] - dgm.clamp(down, 0, 1) * (this.y[1] - this.y[0]),
      ];
    }

    paint() {
      this.asked = null;
      if (!this.inner) return;
      const { pen, inner } = this, colours = dgm.colours();
      pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
      pen.font = `13px ${getComputedStyle(this.canvas).fontFamily}`;
      this.axes(pen, colours);
      pen.save();
      pen.beginPath();
      pen.rect(inner.left, inner.top, inner.width, inner.height);
      pen.clip();
      this.paint_inside(this, pen, colours);
      pen.restore();
    }

    axes(pen, colours) {
      const { left, top, width, height } = this.inner;
      pen.lineWidth = 1;
      pen.strokeStyle = colours.grid;
      pen.fillStyle = colours.ink;
      const wanted = (length) => Math.max(2, Math.min(8, length / 45));
      for (const value of dgm.ticks(...this.x, wanted(width))) {
        const [x] = this.pixel([value, this.y[0]]);
        dgm.line(pen, [[x, top], [x, top + height + 4]]);
        pen.textAlign = "center";
        pen.fillText(dgm.tick_text(value), x, top + height + 17);
      }
      for (const value of dgm.ticks(...this.y, wanted(height))) {
        const [, y] = this.pixel([this.x[0], value]);
        dgm.line(pen, [[left - 4, y], [left + width, y]]);
        pen.textAlign = "right";
        pen.fillText(dgm.tick_text(value), left - 7, y + 4);
      }
    }
  };

  dgm.tick_text = (value) => (Math.abs(value) >= 1e5 ? dgm.number(value, 0) : String(value).replace("-", "−"));

  dgm.line = (pen, points) => {
    pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  };

  dgm.dot = (pen, [x, y], radius) => {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  };

  /* Text that can be read over anything: on a rim in the colour of the paper. */
  dgm.label = (pen, text, [x, y], colours, colour = colours.ink) => {
    [pen.lineWidth, pen.lineJoin, pen.strokeStyle, pen.fillStyle] = [4, "round", colours.paper, colour];
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  };
})((window.dgm ??= {}));
