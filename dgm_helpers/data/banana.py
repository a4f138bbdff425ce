"""The banana: the observations and the log-joint of the flows' and the samplers' two-dimensional target."""

import math

import torch

from dgm_helpers.arguments import tensors, whole

BANANA_SIZE, BANANA_MEAN, BANANA_STD = 100, 1.1179132108624679, 1.9120406866588326  # the course's data; ddof = 0


def banana_data(seed=0):
    """The banana's observations: normals standardised to the course's mean and deviation; ``(100,)``, float64."""
    y = torch.randn(BANANA_SIZE, generator=torch.Generator().manual_seed(whole("seed", seed, 0)), dtype=torch.float64)
    y = (y - y.mean()) / y.std(correction=0)
    return BANANA_MEAN + BANANA_STD * y


def banana_log_joint(theta):
    r"""Log-joint of :math:`y_i \sim \mathcal N(\theta_1 + \theta_2^2, 2^2)`, i = 1..100, under a N(0, I) prior.

    theta: ``(..., 2)``. Returns ``(...)``, nats, normalised over y and theta. The observations enter only by their mean
    and deviation, :math:`\sum_i (y_i - m)^2 = n(s^2 + (\bar y - m)^2)`. Raises ValueError for another last axis.
    """
    tensors(theta=theta)
    if theta.shape[-1:] != (2,):
        raise ValueError(f"expected theta of shape (..., 2), got {tuple(theta.shape)}")
    n, noise_var = BANANA_SIZE, 4.0
    constant = -0.5 * n * (math.log(2 * math.pi * noise_var) + BANANA_STD**2 / noise_var) - math.log(2 * math.pi)
    theta_1, theta_2 = theta.unbind(-1)
    residual = BANANA_MEAN - theta_1 - theta_2**2
    return constant - 0.5 * n / noise_var * residual**2 - 0.5 * (theta_1**2 + theta_2**2)


def banana_draws(n, *, generator=None):
    """n independent draws from the posterior, ``(n, 2)``, float64: theta_2 by rejection, then theta_1 given it.

    The mean of the observations is N(theta_2^2, 1 + 4 / 100) given theta_2; a draw of theta_2 from its prior is kept
    with that density's probability, relative to its largest value. A third of them is kept, of 8 n.
    """
    n, noise_var = whole("n", n, 0), 4.0 / BANANA_SIZE
    theta_2 = torch.randn(8 * n, generator=generator, dtype=torch.float64)
    log_accept = -0.5 * (BANANA_MEAN - theta_2**2) ** 2 / (1 + noise_var)
    theta_2 = theta_2[torch.rand(8 * n, generator=generator, dtype=torch.float64).log() < log_accept][:n]
    mean, sd = (BANANA_MEAN - theta_2**2) / (1 + noise_var), math.sqrt(noise_var / (1 + noise_var))
    theta_1 = mean + sd * torch.randn(len(theta_2), generator=generator, dtype=torch.float64)
    return torch.stack((theta_1, theta_2), -1)
