r"""Estimators of the gradient of the ELBO of one diagonal Gaussian, q = N(mu, diag exp(log_var)).

The bound is :math:`\mathbb E_q[\log w(z)]` with :math:`\log w(z) = \log p(x, z) - \log q(z)`. Each function draws
z = mu + sigma epsilon and returns one estimate for each draw, as two tensors of shape ``shape + (D,)``: the gradients
in mu and in log_var, nats per unit. Average over draws for the estimate of M of them.

log_joint maps ``(..., D)`` to ``(...)``; mu and log_var are ``(D,)``; shape is an int or a tuple, such as (R, M) for R
repetitions of M draws.
"""

from typing import NamedTuple

import torch

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.probability.densities import log_normal, sample_normal


class Gradient(NamedTuple):
    """One estimate for each draw."""

    mu: torch.Tensor  # (..., D)
    log_var: torch.Tensor  # (..., D)


def _draws(mu, log_var, shape, generator):
    tensors(floating=True, mu=mu, log_var=log_var)
    if mu.ndim != 1 or mu.shape != log_var.shape:
        raise ValueError(f"expected mu and log_var of one shape (D,), got {tuple(mu.shape)} and {tuple(log_var.shape)}")
    mu, log_var = mu.detach(), log_var.detach()
    shape = tuple(whole("shape", n, 1) for n in (shape if isinstance(shape, (list, tuple)) else [shape]))
    z = sample_normal(mu.expand(*shape, *mu.shape), log_var, generator=generator)
    return mu, log_var, z


def _checked(values, z):
    if values.shape != z.shape[:-1]:
        raise ValueError(f"expected log_joint to map {tuple(z.shape)} to {tuple(z.shape[:-1])}, "
                         f"got {tuple(values.shape)}")  # fmt: skip
    return values


def reparameterised(log_joint, mu, log_var, shape, *, path_only=False, generator=None):
    r"""Differentiate log w(mu + sigma epsilon) along z: in mu, :math:`\partial_z \log p(x, z)`.

    In log_var it is :math:`\tfrac12 \sigma\epsilon\, \partial_z \log p(x, z) + \tfrac12`. path_only leaves out the term
    in which the parameters enter log q other than through z. That term's mean is 0; what is left differentiates log w
    along z only. Kingma and Welling (2014), section 2.4; path_only is Roeder et al. (2017).
    """
    mu, log_var, z = _draws(mu, log_var, shape, generator)
    deviation = z - mu  # sigma epsilon
    with torch.enable_grad():
        z = z.requires_grad_()
        (slope,) = torch.autograd.grad(_checked(log_joint(z), z).sum(), z)
    if path_only:
        slope = slope + deviation * torch.exp(-log_var)  # - d log q / dz
        return Gradient(slope, 0.5 * deviation * slope)
    return Gradient(slope, 0.5 * deviation * slope + 0.5)


def score_function(log_joint, mu, log_var, shape, *, leave_one_out=False, generator=None):
    r"""The value times the score, :math:`\log w(z)\, \nabla \log q(z)`: in mu, :math:`\log w \cdot \epsilon / \sigma`.

    In log_var the score is :math:`\tfrac12(\epsilon^2 - 1)`. log_joint need not be differentiable. With leave_one_out
    the mean of the other draws' log w along the last axis of shape is subtracted from each draw's own: the estimates of
    one group then depend on each other, but each still has the exact mean. Williams (1992); Mnih and Rezende (2016).
    """
    mu, log_var, z = _draws(mu, log_var, shape, generator)
    with torch.no_grad():
        value = _checked(log_joint(z), z) - log_normal(z, mu, log_var)
        if leave_one_out:
            value = value - mean_of_others(value)
        deviation = z - mu
        score_mu = deviation * torch.exp(-log_var)
        score_log_var = 0.5 * (deviation * score_mu - 1)
        return Gradient(value.unsqueeze(-1) * score_mu, value.unsqueeze(-1) * score_log_var)


def mean_of_others(values):
    """For each of M values along the last axis, the mean of the other M - 1. Raises ValueError for M < 2."""
    tensors(floating=True, values=values)
    count = values.shape[-1] if values.ndim else 1
    if count < 2:
        raise ValueError(f"expected at least two draws on the last axis, to leave one out, got {tuple(values.shape)}")
    return (values.sum(-1, keepdim=True) - values) / (count - 1)
