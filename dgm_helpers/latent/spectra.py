"""Eigenvalues of the covariance: one decomposition gives the maximum-likelihood PPCA of every latent dimension."""

import math
from typing import NamedTuple

import torch

from dgm_helpers.latent.mixtures import check_points
from dgm_helpers.probability.densities import LOG_2PI

BLOCK = 10_000  # rows multiplied at a time


class Spectrum(NamedTuple):
    """Eigendecomposition of a covariance (divisor N), largest eigenvalue first; it serves every latent dimension."""

    mean: torch.Tensor  # (D,)
    eigenvalues: torch.Tensor  # (D,)
    eigenvectors: torch.Tensor  # (D, D), in columns

    def noise_vars(self):
        """Mean of the discarded eigenvalues for L = 0, ..., D - 1: (D,). Tipping and Bishop (1999), eq. 8."""
        discarded = self.eigenvalues.flip(0).cumsum(0).flip(0)
        return discarded / torch.arange(len(discarded), 0, -1, dtype=discarded.dtype, device=discarded.device)


def spectrum(x):
    """Mean and eigendecomposition of the covariance of x, ``(N, D)``, in float64.

    An eigenvalue that rounding alone could give, that of the sums or of x's own numbers, is 0: the rest is the rank.
    Raises ValueError for wrong shapes, fewer than 2 points, NaN or inf, or points that are all the same.
    """
    check_points(x)
    if min(x.shape) < 2:
        raise ValueError(f"expected points of shape (N, D), N >= 2, D >= 2, got {tuple(x.shape)}")
    mean, scatter = x.mean(0, dtype=torch.float64), 0
    for block in x.split(BLOCK):
        block = block - mean
        scatter = scatter + block.T @ block
    covariance = scatter / len(x)
    if not covariance.diagonal().max() > 0:
        raise ValueError("expected points that vary, got constant features only")
    values, vectors = torch.linalg.eigh(covariance)
    own = (torch.finfo(x.dtype).eps * x.abs().max()) ** 2 / 3  # rounding x moves it by eps |x| / 2 at most, evenly
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1] + own
    return Spectrum(mean, torch.where(values > rounding, values, 0).flip(0), vectors.flip(1))


def mean_log_probs(spectrum, x=None):
    """Mean log p(x), nats, under the maximum-likelihood PPCA of every latent dimension: (B, D) -> (D - 1,).

    Entry L - 1 is latent dimension L. One projection serves them all; without x, of the data that ``spectrum`` came
    from, not even that. -inf where the noise variance is 0.
    """
    mean, values, vectors = spectrum
    D = len(values)
    second = values  # of the data's coordinates along the eigenvectors
    if x is not None:
        check_points(x, D)
        second = sum(((part.double() - mean) @ vectors).square().sum(0) for part in x.split(BLOCK)) / len(x)
    noise_vars = spectrum.noise_vars()[1:]
    kept = (second / values).cumsum(0)[:-1]
    rest = second.flip(0).cumsum(0).flip(0)[1:] / noise_vars
    log_det = values.log().cumsum(0)[:-1] + torch.arange(D - 1, 0, -1, device=values.device) * noise_vars.log()
    result = -0.5 * (D * LOG_2PI + log_det + kept + rest)
    return torch.where(noise_vars > 0, result, -math.inf)
