"""Variational inference with a flow: the bound of a target that is known up to its normaliser, and its maximisation."""

import torch

from dgm_helpers.arguments import whole
from dgm_helpers.probability.densities import log_standard_normal
from dgm_helpers.training.fit import Draws, fit, one_cycle


def log_weight(flow, log_joint, z):
    r"""Log-weight :math:`\log p(y, \theta) - \log q(\theta)` at :math:`\theta = g(z)`, for each base draw z.

    flow: maps ``(B, D)`` to points ``(B, D)`` and log|det|, ``(B,)``. log_joint: ``(B, D) -> (B,)``. z: ``(B, D)`` from
    the standard normal base. Returns ``(B,)``, nats; its mean is the ELBO. Rezende and Mohamed (2015), eq. 15.
    """
    theta, log_det = flow(z)
    return log_joint(theta) - log_standard_normal(z) + log_det


def flow_loss(log_joint):
    """The negative ELBO as a loss for ``fit``, whose batches are base draws ``(B, D)``; nats."""
    return lambda flow, z, generator: -log_weight(flow, log_joint, z).mean()


def antithetic_pairs(dim):
    """The ``draw`` of ``Draws``: n base points ``(n, dim)`` in pairs z and -z. Raises ValueError for an odd n."""

    dim = whole("dim", dim, 1)

    def draw(n, generator, like):
        n = whole("n", n, 0)
        if n < 2 or n % 2:
            raise ValueError(f"expected an even number of draws, for antithetic pairs, got {n}")
        z = torch.randn(n // 2, dim, generator=generator, dtype=like.dtype, device=like.device)
        return torch.cat((z, -z))

    return draw


def fit_flow(flow, log_joint, *, epochs, num_samples, lr, steps=100, generator=None):
    """Maximise the ELBO by Adam (Kingma and Ba 2015) with a one-cycle schedule of peak ``lr`` (Smith and Topin 2019).

    Each of the epochs * steps steps draws num_samples base points afresh, in antithetic pairs. generator: of the flow's
    device. Returns the History, whose loss is the negative bound, averaged over each epoch. Raises as ``fit`` does.
    """
    pairs = Draws(antithetic_pairs(flow.dim), steps)
    settings = {"epochs": epochs, "batch_size": num_samples, "lr": lr, "schedule": one_cycle(lr)}
    return fit(flow, flow_loss(log_joint), pairs, generator=generator, progress=False, **settings)
