r"""The posterior of each image on a grid of its own, and the Gaussian that comes closest to it.

An image's grid is :math:`z = m + s \odot u`, with m and s the mean and the standard deviations of its posterior; one
grid of u serves all images. On it a bound is a finite sum, without sampling noise.
"""

import math
from typing import NamedTuple

import torch

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.probability.densities import log_normal, sample_normal
from dgm_helpers.probability.quadrature import log_integral
from dgm_helpers.vae.tiles import check_images, posterior_sums


class LocalGrids(NamedTuple):
    """Posteriors of N images as densities of u on ``unit_points``: z = mean + scale * u."""

    log_f: torch.Tensor  # (N, n, n): log p(x, z) + log |dz/du|, nats
    mean: torch.Tensor  # (N, 2)
    scale: torch.Tensor  # (N, 2)
    unit_points: torch.Tensor  # (n, n, 2), of ``grid_2d``

    @property
    def log_evidence(self):
        """log p(x) of each image: (N,), nats."""
        return log_integral(self.log_f, self.unit_points.spacing)


def local_grids(model, x, shared_points, unit_points, *, batch_size=10):
    """Give each image a grid placed by the moments of its posterior on the grid that all share.

    model: a ``VAE`` with two latent dimensions; x: (N, D); both sets of points: of ``grid_2d``, the unit points square.
    Returns LocalGrids.
    """
    check_images(x, shared_points=shared_points, unit_points=unit_points)
    _, mean, scale, _ = posterior_sums(model, x, shared_points)
    # a posterior much narrower than the shared spacing looks like a point there: keep its grid from collapsing
    scale, values = scale.clamp(min=shared_points.spacing / 4), []
    with torch.no_grad():
        for batch, m, s in zip(*(t.split(batch_size) for t in (x, mean, scale)), strict=True):
            z = m + s * unit_points.flatten(0, 1).unsqueeze(1)  # (n * n, b, 2)
            log_f = model.log_joint(batch, z) + s.log().sum(-1)  # dz = s1 s2 du
            values.append(log_f.T.unflatten(1, unit_points.shape[:2]))
    return LocalGrids(torch.cat(values), mean, scale, unit_points)


def log_gaussian_on_points(deviation, log_sd):
    """Log-probabilities of n points under a Gaussian cut to them; deviation: points minus mean, (..., n), as result."""
    return torch.log_softmax(-0.5 * (deviation * (-log_sd).exp()) ** 2, -1)


def elbo_on_grid(grids, mu, log_sd, slope=None):
    r"""The bound at q(u1) q(u2 | u1) as a sum over the points (i, j) of each image's grid: (N,), nats.

    :math:`\sum_i q_i [-\log q_i + \sum_j q_{j|i} (\log f_{ij} - \log q_{j|i})] + 2 \log h`. mu and log_sd: (N, 2), of
    u1, and of u2 given u1, whose mean is mu2 + slope (u1 - mu1); slope: (N, 1), or None for 0, a diagonal q.
    """
    axis = grids.unit_points[:, 0, 0]
    u1 = axis - mu[:, :1]  # (N, n), from its mean
    mu2 = mu[:, 1:] if slope is None else mu[:, 1:] + slope * u1  # (N, 1) or (N, n)
    log_q1 = log_gaussian_on_points(u1, log_sd[:, :1])
    log_q2 = log_gaussian_on_points(axis - mu2.unsqueeze(-1), log_sd[:, 1:, None])  # (N, 1 or n, n)
    inner = (log_q2.exp() * (grids.log_f - log_q2)).sum(-1)
    return (log_q1.exp() * (inner - log_q1)).sum(-1) + 2 * math.log(grids.unit_points.spacing)


def best_gaussian(grids, *, tilt=False, num_steps=250, lr=0.05):
    """Highest ELBO that a Gaussian q reaches for each image, by Adam on ``elbo_on_grid``, and that q's mu and sd of z.

    Without tilt q is diagonal. q is a distribution on the grid points, so ELBO <= log p(x) to rounding; a standard
    deviation is kept above 0.6 grid steps, where such sums are good to 0.2 %. Returns (N,), nats, and two of (N, 2):
    the mean of z, and its standard deviations (with tilt: of u1, and of u2 given u1, times the scales).
    """
    num_steps = whole("num_steps", num_steps, 1)
    mode, best = grids.unit_points.flatten(0, 1)[grids.log_f.flatten(1).argmax(1)], None
    for start, sd in ((torch.zeros_like(mode), 1.0), (mode, 0.5)):  # a posterior may have several modes
        mu, log_sd, slope = start.clone(), torch.full_like(start, math.log(sd)), torch.zeros_like(start[:, :1])
        parameters = [p.requires_grad_() for p in ((mu, log_sd, slope) if tilt else (mu, log_sd))]
        optimizer = torch.optim.Adam(parameters, lr=lr)
        for _ in range(num_steps):
            bound = elbo_on_grid(grids, *parameters)
            optimizer.zero_grad()
            (-bound.sum()).backward()
            optimizer.step()
            log_sd.data.clamp_(min=math.log(0.6 * grids.unit_points.spacing))
        found = torch.cat([bound[:, None], mu, log_sd.exp()], 1).detach()
        best = found if best is None else torch.where(found[:, :1] > best[:, :1], found, best)
    return best[:, 0], grids.mean + grids.scale * best[:, 1:3], grids.scale * best[:, 3:]


def svi(model, x, mu, log_var, *, num_steps, num_samples, lr, betas=(0.9, 0.999), last_lr=0.01, generator=None):
    """Stochastic variational inference: q = N(mu, diag exp(log_var)) fitted to p(z | x), image by image, from a start.

    Adam on the reparameterised bound with K draws; its rate falls linearly to ``last_lr`` of lr. x: (N, D); mu and
    log_var: (N, L). Returns them after the last step, and the bound at each: (num_steps, N), nats.
    """
    tensors(floating=True, x=x, mu=mu, log_var=log_var)
    num_steps, num_samples = whole("num_steps", num_steps, 1), whole("num_samples", num_samples, 1)
    mu, log_var = (p.detach().clone().requires_grad_() for p in (mu, log_var))
    optimizer = torch.optim.Adam([mu, log_var], lr=lr, betas=betas)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, last_lr, total_iters=num_steps)
    bounds = []
    for _ in range(num_steps):
        z = sample_normal(mu.expand(num_samples, *mu.shape), log_var, generator=generator)
        bound = (model.log_joint(x, z) - log_normal(z, mu, log_var)).mean(0)
        optimizer.zero_grad()
        (-bound.sum()).backward()
        optimizer.step()
        schedule.step()
        bounds.append(bound.detach())  # without its graph
    return mu.detach(), log_var.detach(), torch.stack(bounds)
