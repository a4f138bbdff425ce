r"""Bayesian linear regression: :math:`\theta \sim N(0, I)` and :math:`y_i \sim N(x_i^\top\theta, \sigma^2)`.

``noise_var`` is the variance :math:`\sigma^2`, not its root. Any number of data sets go through at once: x is
``(..., n, D)``, y ``(..., n)``, with the same leading axes, and noise_var a number or ``(...)``. Bishop (2006), 3.3.
All is computed in float64 and given back in the dtype of x: with little noise, float32 has no digits left.
"""

import math

import torch

from dgm_helpers.arguments import tensors


def _check(x, y, noise_var):
    """The three in float64, and the dtype of x. Says what does not fit."""
    tensors(floating=True, x=x, y=y)
    if x.ndim < 2 or x.shape[:-1] != y.shape:
        raise ValueError(f"expected x of shape (..., n, D) and y (..., n), got {tuple(x.shape)} and {tuple(y.shape)}")
    variances = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device)
    if not (variances > 0).all():
        raise ValueError(f"expected a positive noise variance, got {noise_var}")
    return x.double(), y.double(), variances, x.dtype


def _precision(x, noise_var):
    """Cholesky factor of the posterior precision."""
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.cholesky(eye + x.mT @ x / noise_var[..., None, None])


def posterior(x, y, noise_var):
    r"""Mean ``(..., D)`` and covariance ``(..., D, D)`` of theta, from the D x D precision.

    :math:`S^{-1} = I + X^\top X/\sigma^2`, :math:`m = S X^\top y/\sigma^2`.
    """
    x, y, noise_var, dtype = _check(x, y, noise_var)
    cov = torch.cholesky_inverse(_precision(x, noise_var))
    mean = cov @ x.mT @ y.unsqueeze(-1) / noise_var[..., None, None]
    return mean.squeeze(-1).to(dtype), cov.to(dtype)


def posterior_kernel(x, y, noise_var):
    r"""The same mean and covariance, from the n x n matrix of inner products of the inputs.

    :math:`K = XX^\top + \sigma^2 I`, :math:`m = X^\top K^{-1} y`, :math:`S = I - X^\top K^{-1} X`.
    """
    x, y, noise_var, dtype = _check(x, y, noise_var)
    kernel = x @ x.mT + noise_var[..., None, None] * torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    weights = torch.cholesky_solve(x, torch.linalg.cholesky(kernel)).mT  # X^T K^-1, (..., D, n)
    cov = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) - weights @ x
    return (weights @ y.unsqueeze(-1)).squeeze(-1).to(dtype), cov.to(dtype)


def predictive(x_new, mean, cov, noise_var=0.0):
    r"""Mean :math:`x_*^\top m` and variance :math:`x_*^\top S x_* + \sigma^2`, each ``(...)``, at inputs ``(..., D)``.

    With the noise variance it is that of a new observation, without it that of the function value.
    """
    tensors(floating=True, alike=True, x_new=x_new, mean=mean, cov=cov)
    D = mean.shape[-1] if mean.ndim else 0
    if x_new.shape[-1:] != (D,) or cov.shape[-2:] != (D, D):
        came = ", ".join(f"{k} {tuple(v.shape)}" for k, v in (("x_new", x_new), ("mean", mean), ("cov", cov)))
        raise ValueError(f"expected x_new (..., D), mean (..., D) and cov (..., D, D), got {came}")
    return (x_new * mean).sum(-1), torch.einsum("...i,...ij,...j->...", x_new, cov, x_new) + noise_var


def log_evidence(x, y, noise_var):
    r""":math:`\log p(y \mid X) = \log N(y; 0, XX^\top + \sigma^2 I)`, ``(...)``, nats, without an n x n matrix."""
    x, y, noise_var, dtype = _check(x, y, noise_var)
    mean, _ = posterior(x, y, noise_var)
    residual = y - (x @ mean.unsqueeze(-1)).squeeze(-1)
    quadratic = residual.square().sum(-1) / noise_var + mean.square().sum(-1)  # y^T K^-1 y, without a difference
    log_det = 2 * _precision(x, noise_var).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (-0.5 * (log_det + y.shape[-1] * (2 * math.pi * noise_var).log() + quadratic)).to(dtype)
