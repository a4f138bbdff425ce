r"""Training by the K-sample bound :math:`L_K = \log\frac1K\sum_k w_k`: three estimators of its gradient.

Each function returns ``(B,)``: as a value, the estimate of the bound in nats; under ``backward``, the estimator's
gradient, which is not always the derivative of the value. All three have the same mean. B images, K draws for each.
model is a ``VAE`` or a ``TwoLayerVAE``.
"""

import torch

from dgm_helpers.vae.bounds import elbo, iwae, normalised_weights


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
    return elbo(model.log_joint(x, z) - log_q)


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
    z, log_q = model.draws(x, num_samples, held=True, generator=generator)
    with torch.no_grad():
        log_w = model.log_joint(x, z) - log_q
        weights = normalised_weights(log_w)
        chosen = _one_of(weights, generator)
    _scale_slope(z, weights)
    draw = z.gather(0, chosen.unsqueeze(-1).expand(1, *z.shape[1:]))  # (1, B, L): the others' slopes are 0
    log_w_chosen = model.log_joint(x, draw) - log_q.gather(0, chosen)
    return _with_gradient_of(log_w_chosen[0], iwae(log_w))
