"""Log-densities, KL divergences and samplers of diagonal Gaussians and Bernoullis, in nats.

Every log-density maps (..., D) to (...): it sums over the last axis and leaves averaging to the caller.
"""

import math

import torch
import torch.nn.functional as F

from dgm_helpers.arguments import tensors, whole

LOG_2PI = math.log(2 * math.pi)


def _common_shape(**named):
    """Return the broadcast shape, or say which shapes do not fit."""
    tensors(**named)
    shapes = {name: tuple(t.shape) for name, t in named.items()}
    came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    try:
        shape = torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        raise ValueError(f"expected shapes (..., D) that broadcast together, got {came}") from None
    if not shape:
        raise ValueError(f"expected a last axis D to sum over, got {came}")
    return shape


def softplus(x):
    """Stable log(1 + e^x), elementwise. Above 40 it is x in float64 too; torch's default switches at 20, 2e-9 off."""
    tensors(floating=True, x=x)
    return F.softplus(x, threshold=40)


def log_normal(x, mu, log_var):
    r"""Log-density of a diagonal Gaussian, :math:`\log\mathcal N(x; \mu, \operatorname{diag}\sigma^2)`.

    x, mu, log_var: ``(..., D)``, broadcast together; log_var is :math:`\log\sigma^2`. Returns ``(...)``, nats.
    Raises ValueError if the shapes do not broadcast. Bishop (2006), eq. 2.43.
    """
    _common_shape(x=x, mu=mu, log_var=log_var)
    return -0.5 * (LOG_2PI + log_var + ((x - mu) * torch.exp(-0.5 * log_var)) ** 2).sum(-1)


def log_standard_normal(z):
    r"""Log-density of :math:`\mathcal N(0, I)`: ``(..., D) -> (...)``, nats. Raises ValueError for a scalar z."""
    _common_shape(z=z)
    return -0.5 * (LOG_2PI + z**2).sum(-1)


def log_bernoulli(x, logits):
    r"""Log-probability of independent bits, :math:`\sum_d \big(x_d \ell_d - \log(1 + e^{\ell_d})\big)`.

    x, logits: ``(..., D)``, broadcast together. Returns ``(...)``, nats. A log-probability for x in {0, 1} only; for x
    in between it is a cross-entropy, which no density of x normalises. Logits may be infinite: a bit is then certain.
    Raises ValueError as above.
    """
    _common_shape(x=x, logits=logits)
    largest = torch.finfo(logits.dtype).max if logits.is_floating_point() else math.inf
    logits = logits.clamp(-largest, largest)  # else 0 times infinity is not a number
    log_p = (x * logits - softplus(logits)).sum(-1)
    return torch.where(log_p > -largest / 4, log_p, log_p - largest)


def kl_normal(mu_q, log_var_q, mu_p, log_var_p):
    r"""KL between diagonal Gaussians,
    :math:`\tfrac12\sum_d (\log\frac{\sigma_p^2}{\sigma_q^2} + \frac{\sigma_q^2 + (\mu_q-\mu_p)^2}{\sigma_p^2} - 1)`.

    All ``(..., D)``, broadcast together. Returns ``(...)``, nats. Raises ValueError if the shapes do not broadcast.
    """
    _common_shape(mu_q=mu_q, log_var_q=log_var_q, mu_p=mu_p, log_var_p=log_var_p)
    log_ratio = log_var_q - log_var_p
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + ((mu_q - mu_p) * torch.exp(-0.5 * log_var_p)) ** 2).sum(-1)


def kl_standard_normal(mu, log_var):
    r"""KL to the standard normal, :math:`\tfrac12\sum_d \big(\sigma_d^2 + \mu_d^2 - \log\sigma_d^2 - 1\big)`.

    mu, log_var: ``(..., D)``, broadcast together. Returns ``(...)``, nats. Kingma and Welling (2014), appendix B.
    """
    _common_shape(mu=mu, log_var=log_var)
    return 0.5 * (torch.expm1(log_var) - log_var + mu**2).sum(-1)  # expm1(l) = exp(l) - 1, accurate near 0


def sample_normal(mu, log_var, *, generator=None):
    r"""Reparameterised draw :math:`\mu + \sigma\epsilon` with :math:`\epsilon \sim \mathcal N(0, I)`.

    mu, log_var: ``(..., D)``, broadcast together. Returns a draw of their common shape, differentiable in both.
    For K draws each, pass ``mu.expand(K, *mu.shape)``. Kingma and Welling (2014), section 2.4.
    """
    tensors(floating=True, mu=mu, log_var=log_var)
    shape = _common_shape(mu=mu, log_var=log_var)
    epsilon = torch.randn(shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + torch.exp(0.5 * log_var) * epsilon


def sample_bernoulli(logits, *, generator=None):
    """Independent bits with log-odds ``logits``; same shape, dtype and device; carries no gradient."""
    tensors(floating=True, logits=logits)
    return torch.bernoulli(torch.sigmoid(logits.detach()), generator=generator)


def log_mean_exp(x, dim):
    r"""Stable :math:`\log\frac1n\sum_i e^{x_i}` over axis ``dim``, which is removed."""
    tensors(floating=True, x=x)
    dim = whole("dim", dim, -x.ndim)
    if dim >= x.ndim or x.shape[dim] == 0:
        raise ValueError(f"expected an axis dim with at least one entry, got {dim=} of shape {tuple(x.shape)}")
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])
