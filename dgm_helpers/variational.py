"""Variational inference with a flow: the bound of a target that is known up to its normaliser, and its maximisation."""

import math

import torch

from dgm_helpers.densities import log_standard_normal


def log_weight(flow, log_joint, z):
    r"""Log-weight :math:`\log p(y, \theta) - \log q(\theta)` at :math:`\theta = g(z)`, for each base draw z.

    flow: maps ``(B, D)`` to points ``(B, D)`` and log|det|, ``(B,)``. log_joint: ``(B, D) -> (B,)``. z: ``(B, D)`` from
    the standard normal base. Returns ``(B,)``, nats; its mean is the ELBO. Rezende and Mohamed (2015), eq. 15.
    """
    theta, log_det = flow(z)
    return log_joint(theta) - log_standard_normal(z) + log_det


def fit_flow(flow, log_joint, *, num_steps, num_samples, lr, generator=None):
    """Maximise the ELBO by Adam on ``num_samples`` fresh base draws per step; one-cycle schedule with peak ``lr``.

    generator: of the flow's device. Returns the bound estimated at each step, ``(num_steps,)``, nats. Raises
    FloatingPointError at an estimate that is not finite, before it reaches the parameters.
    Kingma and Ba (2015); Smith and Topin (2019).
    """
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps)
    like = next(flow.parameters())
    bounds = []
    for step in range(num_steps):
        z = torch.randn(num_samples, flow.dim, generator=generator, dtype=like.dtype, device=like.device)
        bound = log_weight(flow, log_joint, z).mean()
        bounds.append(bound.item())
        if not math.isfinite(bounds[-1]):
            raise FloatingPointError(f"the bound became {bounds[-1]} at step {step}; a smaller lr usually cures it")
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
        schedule.step()
    return torch.tensor(bounds)
