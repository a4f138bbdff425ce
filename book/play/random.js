/* Random numbers from a seed, the same on every machine. Names in these scripts are those of dgm_helpers. */
"use strict";
((dgm) => {
  /* Chris Doty-Humphrey's sfc32: 128 bits of state, of which one word is a counter. */
  dgm.generator = (seed) => {
    let a = seed | 0, b = 0, c = 0, counter = 1, spare = null;
    function next() {
      const sum = (a + b + counter++) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return sum >>> 0;
    }
    for (let i = 0; i < 16; i++) next(); // until the seed has reached every bit

    /* in (0, 1), never 0 or 1: its logarithm is finite */
    const uniform = () => (next() + 0.5) / 2 ** 32;

    /* Box and Muller: two uniforms make two independent normals, and the second waits for the next call */
    function normal() {
      if (spare !== null) {
        const waiting = spare;
        spare = null;
        return waiting;
      }
      const radius = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    }
    return { uniform, normal };
  };
})((window.dgm ??= {}));
