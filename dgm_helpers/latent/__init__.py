"""Latent variables with exact answers: Gaussian mixtures and probabilistic PCA."""

from dgm_helpers.latent.mixtures import (
    GaussianMixture,
    MixtureFit,
    em_step,
    fit_mixture,
    kmeans_plus_plus,
    log_prior,
    random_points,
    start_at,
)
from dgm_helpers.latent.ppca import PPCA, Spectrum, em_step_ppca, fit_ppca, mean_log_probs, ppca_of, spectrum

__all__ = [
    "PPCA",
    "GaussianMixture",
    "MixtureFit",
    "Spectrum",
    "em_step",
    "em_step_ppca",
    "fit_mixture",
    "fit_ppca",
    "kmeans_plus_plus",
    "log_prior",
    "mean_log_probs",
    "ppca_of",
    "random_points",
    "spectrum",
    "start_at",
]
