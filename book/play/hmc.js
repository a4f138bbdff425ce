/* dgm_helpers.mcmc.hmc for one chain, and the banana of dgm_helpers.data.banana. Points are arrays of numbers, units are nats. */
"use strict";
((dgm) => {
  const along = (x, step, y) => x.map((value, i) => value + step * y[i]);
  const kinetic = (momentum) => 0.5 * momentum.reduce((sum, p) => sum + p * p, 0);

  /* y_i ~ N(theta_1 + theta_2^2, 4), i = 1..SIZE, under a N(0, I) prior; the data enter by their mean and deviation. */
  dgm.Banana = class {
    constructor({ SIZE, MEAN, STD }) {
      const noise_var = 4;
      [this.mean, this.precision] = [MEAN, SIZE / noise_var];
      this.constant = -0.5 * SIZE * (Math.log(2 * Math.PI * noise_var) + STD ** 2 / noise_var) - Math.log(2 * Math.PI);
      this.log_density = this.log_density.bind(this);
      this.gradient = this.gradient.bind(this);
    }

    log_density([theta_1, theta_2]) {
      const residual = this.mean - theta_1 - theta_2 ** 2;
      return this.constant - 0.5 * this.precision * residual ** 2 - 0.5 * (theta_1 ** 2 + theta_2 ** 2);
    }

    gradient([theta_1, theta_2]) {
      const pull = this.precision * (this.mean - theta_1 - theta_2 ** 2);
      return [pull - theta_1, 2 * theta_2 * pull - theta_2];
    }
  };

  /* num_steps leapfrog steps, half kicks that meet taken as one. visit(position, momentum), if given, is called after
     every step, with the momentum of that moment. Returns the new pair. */
  dgm.leapfrog = (gradient, position, momentum, { step_size, num_steps, visit = null }) => {
    momentum = along(momentum, 0.5 * step_size, gradient(position));
    for (let i = 1; i < num_steps; i++) {
      position = along(position, step_size, momentum);
      const slope = gradient(position);
      visit?.(position, along(momentum, 0.5 * step_size, slope));
      momentum = along(momentum, step_size, slope);
    }
    position = along(position, step_size, momentum);
    momentum = along(momentum, 0.5 * step_size, gradient(position));
    visit?.(position, momentum);
    return [position, momentum];
  };

  dgm.energy = (log_density, position, momentum) => kinetic(momentum) - log_density(position);

  /* One transition: a fresh momentum, a trajectory, and the rule log u < H - H'. A comparison with NaN is false, so a
     trajectory that broke down is rejected; where the rule says no, the position is repeated. */
  dgm.transition = (target, position, { step_size, num_steps, generator, visit = null }) => {
    const start = position.map(() => generator.normal());
    const before = dgm.energy(target.log_density, position, start);
    const [proposal, end] = dgm.leapfrog(target.gradient, position, start, { step_size, num_steps, visit });
    const log_ratio = before - dgm.energy(target.log_density, proposal, end);
    const u = generator.uniform(), finite = Number.isFinite(log_ratio);
    const accepted = finite && Math.log(u) < log_ratio;
    return {
      start, before, proposal, u, finite, accepted,
      energy_error: -log_ratio,
      accept_prob: finite ? Math.min(1, Math.exp(log_ratio)) : 0,
      position: accepted ? proposal : position,
    };
  };

  /* A chain without pictures: {samples, accept_rate}, repeats included. */
  dgm.sample_hmc = (target, position, { num_samples, ...settings }) => {
    const samples = [];
    let accepted = 0;
    for (let i = 0; i < num_samples; i++) {
      const result = dgm.transition(target, position, settings);
      position = result.position;
      accepted += result.accepted;
      samples.push(position);
    }
    return { samples, accept_rate: accepted / num_samples };
  };
})((window.dgm ??= {}));
