"""Densities, divergences, quadrature, minimisation, Bayesian regression and Bayesian networks."""

from dgm_helpers.probability import bayes_nets, regression
from dgm_helpers.probability.densities import (
    LOG_2PI, kl_normal, kl_standard_normal, log_bernoulli, log_mean_exp, log_normal, log_standard_normal,
    sample_bernoulli, sample_normal, softplus,
)  # fmt: skip
from dgm_helpers.probability.divergences import kl_discrete, kl_knn
from dgm_helpers.probability.minimisation import minimise
from dgm_helpers.probability.quadrature import grid_2d, log_evidence, log_integral, mass_levels, moments

__all__ = [
    "LOG_2PI", "bayes_nets", "grid_2d", "kl_discrete", "kl_knn", "kl_normal", "kl_standard_normal", "log_bernoulli",
    "log_evidence", "log_integral", "log_mean_exp", "log_normal", "log_standard_normal", "mass_levels", "minimise",
    "moments", "regression", "sample_bernoulli", "sample_normal", "softplus",
]  # fmt: skip
