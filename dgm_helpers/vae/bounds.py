"""Lower bounds on log p(x) from log importance weights log_w = log p(x, z) - log q(z | x)."""

import torch

from dgm_helpers.arguments import tensors
from dgm_helpers.probability.densities import log_mean_exp


def _check(log_w):
    tensors(floating=True, log_w=log_w)
    if log_w.ndim != 2 or log_w.shape[0] == 0:
        raise ValueError(f"expected log_w of shape (K, B) with K >= 1, got {tuple(log_w.shape)}")


def elbo(log_w):
    r"""Monte Carlo evidence lower bound, :math:`\frac1K\sum_k \log w_k`.

    log_w: ``(K, B)``, K draws for each of B examples. Returns ``(B,)``, nats. Kingma and Welling (2014), eq. 6.
    """
    _check(log_w)
    return log_w.mean(0)


def iwae(log_w):
    r"""Importance-weighted bound :math:`L_K = \log\frac1K\sum_k w_k`.

    log_w: ``(K, B)``. Returns ``(B,)``, nats. The sum is inside the logarithm, and taken without leaving log space.
    Burda et al. (2016), eq. 8.
    """
    _check(log_w)
    return log_mean_exp(log_w, 0)


def effective_sample_size(log_w):
    r"""Kish's :math:`(\sum_k w_k)^2 / \sum_k w_k^2`, between 1 and K. log_w: ``(K, B)``. Returns ``(B,)``."""
    _check(log_w)
    return 1 / torch.softmax(log_w, 0).square().sum(0)


def normalised_weights(log_w):
    r""":math:`\tilde w_k = w_k / \sum_j w_j`, without gradient: ``(K, B)`` to ``(K, B)``, each column sums to 1."""
    _check(log_w)
    return torch.softmax(log_w.detach(), 0)
