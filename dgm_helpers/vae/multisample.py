r"""Training by the K-sample bound :math:`L_K = \log\frac1K\sum_k w_k`: three estimators of its gradient.

Each function returns ``(B,)``: as a value, the estimate of the bound in nats; under ``backward``, the estimator's
gradient, which is not always the derivative of the value. All three have the same mean. B images, K draws for each.
model is a ``VAE`` or, but for ``resampled_bound``, a ``TwoLayerVAE``.
"""

import torch

from dgm_helpers.probability.densities import log_normal, sample_normal
from dgm_helpers.vae.bounds import iwae


def normalised_weights(log_w):
    r""":math:`\tilde w_k = w_k / \sum_j w_j`, without gradient: ``(K, B)`` to ``(K, B)``, each column sums to 1."""
    if log_w.ndim != 2 or log_w.shape[0] == 0:
        raise ValueError(f"expected log_w of shape (K, B) with K >= 1, got {tuple(log_w.shape)}")
    return torch.softmax(log_w.detach(), 0)


def _with_gradient_of(surrogate, value):
    return surrogate + (value - surrogate).detach()


def _scale_slope(z, factor):
    """Let the gradient that arrives at z go on multiplied by ``factor``, (...) for z of (..., L)."""
    if z.requires_grad:
        z.register_hook(lambda slope: factor.unsqueeze(-1) * slope)


def _one_of(weights, generator):
    """For each column an index k with probability weights[k], (1, B): the winner of a race of exponentials.

    torch.multinomial does the same, but makes the program wait for the GPU.
    """
    return (weights / torch.empty_like(weights).exponential_(generator=generator)).argmax(0, keepdim=True)


def reparameterised_bound(model, x, num_samples, *, generator=None):
    r"""The bound as it stands, :math:`\sum_k \tilde w_k \nabla \log w_k`. Burda et al. (2016), section 3."""
    return iwae(model.log_weights(x, num_samples, generator=generator))


def path_derivative_elbo(model, x, num_samples, *, generator=None):
    r"""The ELBO averaged over K draws. Encoder: :math:`\frac1K \sum_k \partial_z \log w_k\, \nabla_\phi z_k`.

    Leaving out the score of q, of mean 0, makes the gradient vanish where q is the posterior. Roeder et al. (2017).
    """
    z, log_q = model.draws(x, num_samples, held=True, generator=generator)
    return (model.log_joint(x, z) - log_q).mean(0)


def doubly_reparameterised_bound(model, x, num_samples, *, generator=None):
    r"""Encoder: :math:`\sum_k \tilde w_k^2\, \partial_z \log w_k\, \nabla_\phi z_k`. Tucker et al. (2019).

    The decoder's gradient stays :math:`\sum_k \tilde w_k \nabla_\theta \log w_k`.
    """
    z, log_q = model.draws(x, num_samples, held=True, generator=generator)  # the encoder enters through z only
    log_w = model.log_joint(x, z) - log_q
    weights = normalised_weights(log_w)
    _scale_slope(z, weights)
    return _with_gradient_of((weights * log_w).sum(0), iwae(log_w))


def resampled_bound(model, x, num_samples, *, generator=None):
    r"""One draw for each image goes backward, chosen with probability :math:`\tilde w_k`: K forward, one backward.

    Decoder: :math:`\nabla_\theta \log w_k`. Encoder: :math:`\tilde w_k\, \partial_z \log w_k\, \nabla_\phi z_k`. Given
    the K draws, the mean over the choice is the doubly reparameterised gradient.
    """
    mu, log_var = model.encoder(x)
    with torch.no_grad():
        draws = sample_normal(mu.expand(num_samples, *mu.shape), log_var, generator=generator)
        log_w = model.log_joint(x, draws) - log_normal(draws, mu, log_var)
        weights = normalised_weights(log_w)
        chosen = _one_of(weights, generator)
        weight = weights.gather(0, chosen)[0]
        draw = draws.gather(0, chosen.unsqueeze(-1).expand(1, *mu.shape))[0]
        epsilon = (draw - mu) * torch.exp(-0.5 * log_var)
    z = mu + torch.exp(0.5 * log_var) * epsilon
    _scale_slope(z, weight)
    log_w_chosen = model.log_joint(x, z) - log_normal(z, mu.detach(), log_var.detach())
    return _with_gradient_of(log_w_chosen, iwae(log_w))
