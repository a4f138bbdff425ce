"""Variational autoencoders, their bounds, gradients and exact posteriors."""

from dgm_helpers.vae import gradients
from dgm_helpers.vae.bound_training import (
    BOUND_COUNTS, bounds_in_parts, first_losses, log_p_of_seeds, log_weights_in_parts, mean_gain, measured_bounds,
    measured_first_epoch,
)  # fmt: skip
from dgm_helpers.vae.bounds import effective_sample_size, elbo, iwae, normalised_weights
from dgm_helpers.vae.convolutional import ConvDecoder, ConvEncoder
from dgm_helpers.vae.likelihoods import Bernoulli, Gaussian
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.multisample import (
    doubly_reparameterised_bound, path_derivative_elbo, reparameterised_bound, resampled_bound,
)  # fmt: skip
from dgm_helpers.vae.networks import MLPDecoder, MLPEncoder, mlp
from dgm_helpers.vae.posteriors import LocalGrids, best_gaussian, elbo_on_grid, local_grids, svi
from dgm_helpers.vae.runs import (
    IWAE_OBJECTIVES, IWAE_PAIRS, IWAE_PUBLISHED, iwae_run, iwae_runs, svi_base, svi_run, vae_2d_loss, vae_2d_model,
    vae_2d_run,
)  # fmt: skip
from dgm_helpers.vae.tiles import PosteriorSums, occupied_tiles, posterior_sums
from dgm_helpers.vae.two_layers import TwoLayerVAE

__all__ = [
    "BOUND_COUNTS", "IWAE_OBJECTIVES", "IWAE_PAIRS", "IWAE_PUBLISHED", "VAE", "Bernoulli", "ConvDecoder",
    "ConvEncoder", "Gaussian", "LocalGrids", "MLPDecoder", "MLPEncoder", "PosteriorSums", "TwoLayerVAE",
    "best_gaussian", "bounds_in_parts", "doubly_reparameterised_bound", "effective_sample_size", "elbo", "elbo_on_grid",
    "first_losses", "gradients", "iwae", "iwae_run", "iwae_runs", "local_grids", "log_p_of_seeds",
    "log_weights_in_parts", "mean_gain", "measured_bounds", "measured_first_epoch", "mlp", "normalised_weights",
    "occupied_tiles", "path_derivative_elbo", "posterior_sums",
    "reparameterised_bound", "resampled_bound", "svi", "svi_base", "svi_run", "vae_2d_loss", "vae_2d_model",
    "vae_2d_run",
]  # fmt: skip
