"""B3.3: leapfrog steps per second of sample_hmc on the banana, against plain numpy and against BlackJAX.

BlackJAX is optional: ``pip install -r requirements-bench.txt``. All sides use the same step size, path length and
posterior (up to its constant), and count draws, momenta and acceptances in; compilation is left out by the warm-up.
"""

import os

import numpy as np
import torch

from benchmarks.timing import gpu_memory, in_turn, print_table, write_record
from dgm_helpers.data.banana import BANANA_MEAN, BANANA_SIZE, banana_data, banana_log_joint
from dgm_helpers.mcmc.hmc import sample_hmc
from dgm_helpers.training import best_device

STEP_SIZE, NUM_STEPS = 0.06, 25
CHAINS = {1: 2000, 100: 2000, 1000: 2000, 10_000: 400}  # and transitions timed
GPU_CHAINS = {10_000: 2000}
EAGER_TRANSITIONS, NUMPY_TRANSITIONS = 40, 200
SCALE = BANANA_SIZE / 4


def numpy_chain(num_samples, y=None, seed=0):
    """One chain as course solutions write it; with ``y``, the gradient runs over all the observations."""
    rng, theta = np.random.default_rng(seed), np.zeros(2)

    def residual(theta):
        mean = theta[0] + theta[1] ** 2
        return SCALE * (BANANA_MEAN - mean) if y is None else ((y - mean) / 4).sum()

    def log_joint(theta):
        mean = theta[0] + theta[1] ** 2
        fit = SCALE * (BANANA_MEAN - mean) ** 2 if y is None else ((y - mean) ** 2 / 4).sum()
        return -0.5 * fit - 0.5 * (theta**2).sum()

    def gradient(theta):
        r = residual(theta)
        return np.array([r - theta[0], 2 * theta[1] * r - theta[1]])

    draws = []
    for _ in range(num_samples):
        p = rng.standard_normal(2)
        q, before = theta.copy(), log_joint(theta) - 0.5 * (p**2).sum()
        p = p + 0.5 * STEP_SIZE * gradient(q)
        for step in range(NUM_STEPS):
            q = q + STEP_SIZE * p
            p = p + (STEP_SIZE if step < NUM_STEPS - 1 else 0.5 * STEP_SIZE) * gradient(q)
        if np.log(rng.uniform()) < log_joint(q) - 0.5 * (p**2).sum() - before:
            theta = q
        draws.append(theta)
    return np.array(draws)


def ours(chains, transitions, compile):
    device = best_device()
    start, generator = torch.zeros(chains, 2, device=device), torch.Generator(device).manual_seed(0)
    return lambda: sample_hmc(
        banana_log_joint, start, step_size=STEP_SIZE, num_steps=NUM_STEPS, num_samples=transitions,
        generator=generator, compile=compile,
    )  # fmt: skip


def blackjax_runner(chains, transitions):
    """Vmapped HMC in one compiled scan that returns all draws; None where BlackJAX is not installed."""
    try:
        import blackjax
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None

    def log_density(theta):  # the constant left out, the rest as in banana_log_joint
        r = BANANA_MEAN - theta[0] - theta[1] ** 2
        return -0.5 * SCALE * r**2 - 0.5 * (theta[0] ** 2 + theta[1] ** 2)

    hmc = blackjax.hmc(log_density, STEP_SIZE, jnp.ones(2), NUM_STEPS)

    @jax.jit
    def run(key, states):
        def one(states, key):
            states, info = jax.vmap(hmc.step)(jax.random.split(key, chains), states)
            return states, (states.position, info.is_accepted)

        return jax.lax.scan(one, states, jax.random.split(key, transitions))

    states = jax.vmap(hmc.init)(jnp.zeros((chains, 2)))
    keys = iter(jax.random.split(jax.random.key(0), 100))
    return lambda: jax.block_until_ready(run(next(keys), states))


def main():
    y = banana_data().numpy()
    ways = {
        "numpy, one chain, all observations": (1, NUMPY_TRANSITIONS, lambda: numpy_chain(NUMPY_TRANSITIONS, y)),
        "numpy, one chain, sufficient statistics": (1, NUMPY_TRANSITIONS, lambda: numpy_chain(NUMPY_TRANSITIONS)),
    }
    for chains, transitions in (GPU_CHAINS if torch.cuda.is_available() else CHAINS).items():
        name = f"{chains:,} chain{'s' if chains > 1 else ''}"
        ways[f"sample_hmc, {name}"] = (chains, EAGER_TRANSITIONS, ours(chains, EAGER_TRANSITIONS, False))
        ways[f"sample_hmc compiled, {name}"] = (chains, transitions, ours(chains, transitions, True))
        blackjax = blackjax_runner(chains, transitions)
        if blackjax:
            ways[f"BlackJAX, {name}"] = (chains, transitions, blackjax)
    took = in_turn(*(work for _, _, work in ways.values()))
    rates = {
        name: chains * transitions * NUM_STEPS / seconds
        for (name, (chains, transitions, _)), seconds in zip(ways.items(), took, strict=True)
    }
    plain = rates["numpy, one chain, sufficient statistics"]
    rows = [["", "million leapfrog steps / s", "times numpy"]]
    rows += [[name, f"{rate / 1e6:.4g}", f"{rate / plain:,.0f}"] for name, rate in rates.items()]
    print_table(f"B3.3, HMC on the banana, {NUM_STEPS} steps of {STEP_SIZE}, float32 (numpy: float64)", rows)
    write_record(__file__, {"leapfrog_steps_per_second": rates, "memory": gpu_memory()})
    if not any(name.startswith("BlackJAX") for name in rates):
        print("BlackJAX is not installed: skipped (pip install -r requirements-bench.txt)\n")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
