"""Markov chain Monte Carlo: Hamiltonian dynamics, many chains at once."""

from dgm_helpers.mcmc.hmc import HMCResult, hmc_step, leapfrog, sample_hmc

__all__ = [
    "HMCResult", "hmc_step", "leapfrog", "sample_hmc",
]  # fmt: skip
