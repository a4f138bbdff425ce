"""Markov chain Monte Carlo: Hamiltonian dynamics, many chains at once."""

from dgm_helpers.mcmc.hmc import HMCResult, leapfrog, sample_hmc

__all__ = [
    "HMCResult",
    "leapfrog",
    "sample_hmc",
]
