"""Latent variables with exact answers: Gaussian mixtures and probabilistic PCA."""

from dgm_helpers.latent.fitting import MixtureFit, fit_mixture, kmeans_plus_plus, random_points, start_at
from dgm_helpers.latent.mixtures import GaussianMixture, em_step, log_prior
from dgm_helpers.latent.ppca import PPCA, em_step_ppca, fit_ppca, ppca_of
from dgm_helpers.latent.spectra import Spectrum, mean_log_probs, spectrum

__all__ = [
    "PPCA", "GaussianMixture", "MixtureFit", "Spectrum", "em_step", "em_step_ppca", "fit_mixture", "fit_ppca",
    "kmeans_plus_plus", "log_prior", "mean_log_probs", "ppca_of", "random_points", "spectrum", "start_at",
]  # fmt: skip
