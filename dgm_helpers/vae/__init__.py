"""Variational autoencoders, their bounds, gradients and exact posteriors."""

from dgm_helpers.vae import gradients
from dgm_helpers.vae.bound_training import (
    bounds_in_parts,
    curve_evaluation,
    log_weights_in_parts,
    measured_bounds,
    pixel_log_odds,
    train_by_bound,
)
from dgm_helpers.vae.bounds import effective_sample_size, elbo, iwae
from dgm_helpers.vae.convolutional import ConvDecoder, ConvEncoder
from dgm_helpers.vae.model import VAE, MLPDecoder, MLPEncoder, mlp
from dgm_helpers.vae.multisample import (
    doubly_reparameterised_bound,
    normalised_weights,
    path_derivative_elbo,
    reparameterised_bound,
    resampled_bound,
)
from dgm_helpers.vae.posteriors import LocalGrids, best_gaussian, local_grids
from dgm_helpers.vae.two_layers import TwoLayerVAE

__all__ = [
    "VAE",
    "ConvDecoder",
    "ConvEncoder",
    "LocalGrids",
    "MLPDecoder",
    "MLPEncoder",
    "TwoLayerVAE",
    "best_gaussian",
    "bounds_in_parts",
    "curve_evaluation",
    "doubly_reparameterised_bound",
    "effective_sample_size",
    "elbo",
    "gradients",
    "iwae",
    "local_grids",
    "log_weights_in_parts",
    "measured_bounds",
    "mlp",
    "normalised_weights",
    "path_derivative_elbo",
    "pixel_log_odds",
    "reparameterised_bound",
    "resampled_bound",
    "train_by_bound",
]
