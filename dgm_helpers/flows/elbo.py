"""Variational inference with a flow: the bound of a target that is known up to its normaliser, and its maximisation."""

import math

import torch

from dgm_helpers.probability.densities import log_standard_normal
from dgm_helpers.training.cuda_graphs import ReplayedStep, give_memory_back


def log_weight(flow, log_joint, z):
    r"""Log-weight :math:`\log p(y, \theta) - \log q(\theta)` at :math:`\theta = g(z)`, for each base draw z.

    flow: maps ``(B, D)`` to points ``(B, D)`` and log|det|, ``(B,)``. log_joint: ``(B, D) -> (B,)``. z: ``(B, D)`` from
    the standard normal base. Returns ``(B,)``, nats; its mean is the ELBO. Rezende and Mohamed (2015), eq. 15.
    """
    theta, log_det = flow(z)
    return log_joint(theta) - log_standard_normal(z) + log_det


def fit_flow(flow, log_joint, *, num_steps, num_samples, lr, generator=None):
    """Maximise the ELBO by Adam (Kingma and Ba 2015) with a one-cycle schedule of peak ``lr`` (Smith and Topin 2019).

    Each step draws ``num_samples`` base points afresh, in antithetic pairs z and -z. generator: of the flow's device.
    On a GPU the step is recorded as a CUDA graph where that is possible, as in ``training.fit``, and at the end the
    parameters are left without gradients there. Returns the bound estimated at each step, ``(num_steps,)``, nats.
    Raises ValueError for an odd ``num_samples``, FloatingPointError at an estimate that is not finite, before it
    reaches the parameters.
    """
    if num_samples < 2 or num_samples % 2:
        raise ValueError(f"expected an even num_samples, for antithetic pairs, got {num_samples}")
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps)
    like = next(flow.parameters())
    bounds = []

    def bound_of(z):
        """The bound's estimate from z; its gradient, negative, is left in the parameters."""
        optimizer.zero_grad()
        bound = log_weight(flow, log_joint, z).mean()
        (-bound).backward()
        return bound.detach()

    if like.is_cuda:
        bound_of = ReplayedStep(bound_of, flow.parameters(), num_samples, generator)
    try:
        for step in range(num_steps):
            z = torch.randn(num_samples // 2, flow.dim, generator=generator, dtype=like.dtype, device=like.device)
            bounds.append(bound_of(torch.cat((z, -z))).item())
            if not math.isfinite(bounds[-1]):
                raise FloatingPointError(f"the bound became {bounds[-1]} at step {step}; a smaller lr usually cures it")
            optimizer.step()
            schedule.step()
    finally:
        if like.is_cuda:
            bound_of = None
            give_memory_back(flow.parameters())
    return torch.tensor(bounds)
