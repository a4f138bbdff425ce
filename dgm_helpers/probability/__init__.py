"""Densities, divergences, quadrature, Bayesian regression and Bayesian networks."""

from dgm_helpers.probability import bayes_nets, regression
from dgm_helpers.probability.bayes_nets import (
    conditional_mutual_information,
    d_separated,
    independence_gap,
    is_blocked,
    joint,
    markov_blanket,
)
from dgm_helpers.probability.densities import (
    LOG_2PI,
    kl_normal,
    kl_standard_normal,
    log_bernoulli,
    log_mean_exp,
    log_normal,
    log_standard_normal,
    sample_bernoulli,
    sample_normal,
    softplus,
)
from dgm_helpers.probability.divergences import kl_discrete, kl_knn
from dgm_helpers.probability.quadrature import grid_2d, log_evidence, log_integral, moments

__all__ = [
    "LOG_2PI",
    "bayes_nets",
    "conditional_mutual_information",
    "d_separated",
    "grid_2d",
    "independence_gap",
    "is_blocked",
    "joint",
    "kl_discrete",
    "kl_knn",
    "kl_normal",
    "kl_standard_normal",
    "log_bernoulli",
    "log_evidence",
    "log_integral",
    "log_mean_exp",
    "log_normal",
    "log_standard_normal",
    "markov_blanket",
    "moments",
    "regression",
    "sample_bernoulli",
    "sample_normal",
    "softplus",
]
