/* The decoder of dgm_helpers.vae.model and the few densities that its page shows. Logits are log-odds, units are nats. */
"use strict";
((dgm) => {
  function bytes_of(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  }
  const floats = (text) => new Float32Array(bytes_of(text).buffer);

  /* Two whole numbers of 12 bits with sign from every three bytes. */
  function unpack_12(bytes) {
    const values = new Int16Array((bytes.length / 3) * 2);
    for (let i = 0, j = 0; i < bytes.length; i += 3) {
      values[j++] = (bytes[i] | ((bytes[i + 1] & 15) << 8)) - 2048;
      values[j++] = ((bytes[i + 1] >> 4) | (bytes[i + 2] << 4)) - 2048;
    }
    return values;
  }

  /* From a latent point to one logit for each pixel: 2 -> hidden ReLU units -> data_dim. */
  dgm.MLPDecoder = class {
    constructor(asset) {
      [this.hidden, this.data_dim] = [asset.hidden, asset.data_dim];
      [this.weight_1, this.bias_1] = [floats(asset.weight_1), floats(asset.bias_1)];
      [this.scale_2, this.bias_2] = [floats(asset.scale_2), floats(asset.bias_2)];
      this.weight_2 = unpack_12(bytes_of(asset.weight_2)); // whole numbers; scale_2 has a factor for each hidden unit
    }

    forward([z1, z2]) {
      const logits = Float64Array.from(this.bias_2);
      for (let j = 0; j < this.hidden; j++) {
        const input = this.weight_1[2 * j] * z1 + this.weight_1[2 * j + 1] * z2 + this.bias_1[j];
        if (input <= 0) continue; // ReLU: this unit is off
        const output = input * this.scale_2[j], first = j * this.data_dim;
        for (let d = 0; d < this.data_dim; d++) logits[d] += output * this.weight_2[first + d];
      }
      return logits;
    }
  };

  dgm.sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

  /* log(1 + e^l), which never overflows */
  dgm.softplus = (logit) => Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)));

  /* Entropy of independent pixels, the sum of -pi log pi - (1 - pi) log(1 - pi). */
  dgm.entropy_bernoulli = (logits) => logits.reduce((sum, l) => sum + dgm.softplus(l) - l * dgm.sigmoid(l), 0);

  dgm.log_standard_normal = (z) => z.reduce((sum, x) => sum - 0.5 * (x * x + Math.log(2 * Math.PI)), 0);

  /* The encoded test digits: {z1, z2, label} as arrays, in the order of the test set. */
  dgm.unpack_codes = (asset) => {
    const packed = new Uint32Array(bytes_of(asset.packed).buffer);
    const signed = (bits) => (((bits & 4095) ^ 2048) - 2048) * asset.step;
    return {
      z1: Float32Array.from(packed, signed),
      z2: Float32Array.from(packed, (word) => signed(word >>> 12)),
      label: Uint8Array.from(packed, (word) => word >>> 24),
    };
  };
})((window.dgm ??= {}));
