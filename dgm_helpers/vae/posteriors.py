r"""The posterior of each image on a grid of its own, and the Gaussian that comes closest to it.

An image's grid is :math:`z = m + s \odot u`, with m and s the mean and the standard deviations of its posterior; one
grid of u serves all images. On it a bound is a finite sum, without sampling noise.
"""

import math
from typing import NamedTuple

import torch

from dgm_helpers.probability.quadrature import log_integral, moments


class LocalGrids(NamedTuple):
    """Posteriors of N images as densities of u on ``unit_points``: z = mean + scale * u."""

    log_f: torch.Tensor  # (N, n, n): log p(x, z) + log |dz/du|, nats
    mean: torch.Tensor  # (N, 2)
    scale: torch.Tensor  # (N, 2)
    unit_points: torch.Tensor  # (n, n, 2)
    spacing: float  # of the unit points

    @property
    def log_evidence(self):
        """log p(x) of each image: (N,), nats."""
        return log_integral(self.log_f, self.spacing)


def local_grids(model, x, shared_points, unit_points, *, batch_size=10):
    """Give each image a grid placed by the moments of its posterior on the grid that all share.

    model: a ``VAE`` with two latent dimensions; x: (N, D); shared_points: (n1, n2, 2); unit_points: (n, n, 2), square.
    Returns LocalGrids.
    """
    spacing, shared_spacing = (float(points[1, 0, 0] - points[0, 0, 0]) for points in (unit_points, shared_points))
    log_joint, values, means, scales = model.grid_log_joint(shared_points), [], [], []
    with torch.no_grad():
        for batch in x.split(batch_size):
            mean, cov = moments(log_joint(batch), shared_points)
            # a posterior much narrower than the shared spacing looks like a point there: keep its grid from collapsing
            scale = cov.diagonal(dim1=-2, dim2=-1).sqrt().clamp(min=shared_spacing / 4)
            z = mean + scale * unit_points.flatten(0, 1).unsqueeze(1)  # (n * n, b, 2)
            log_f = model.log_joint(batch, z) + scale.log().sum(-1)  # dz = s1 s2 du
            values.append(log_f.T.unflatten(1, unit_points.shape[:2]))
            means.append(mean)
            scales.append(scale)
    return LocalGrids(torch.cat(values), torch.cat(means), torch.cat(scales), unit_points, spacing)


def best_gaussian(grids, *, tilt=False, num_steps=250, lr=0.05):
    """Highest ELBO that a Gaussian q reaches for each image, by Adam on exact sums: (N,), and its mu and sd of z.

    q(u1) q(u2 | u1) is Gaussian in the first and linear-Gaussian in the second. Without tilt u2 does not depend on u1:
    q is diagonal. q is a distribution on the grid points, so ELBO <= log p(x) to rounding; a standard deviation is
    kept above 0.6 grid steps, where such sums are good to 0.2 %. Returns (N,), nats, and two of (N, 2): the mean of z,
    and its standard deviations (with tilt: of u1, and of u2 given u1, times the scales).
    """
    log_f, spacing, axis = grids.log_f, grids.spacing, grids.unit_points[:, 0, 0]
    best = torch.full((len(log_f), 5), -torch.inf, dtype=log_f.dtype, device=log_f.device)
    mode = grids.unit_points.flatten(0, 1)[log_f.flatten(1).argmax(1)]
    for mean, sd in ((torch.zeros_like(mode), 1.0), (mode, 0.5)):  # a posterior may have several modes
        mu, log_sd = mean.clone().requires_grad_(), torch.full_like(mean, math.log(sd)).requires_grad_()
        slope = torch.zeros_like(mean[:, :1]).requires_grad_(tilt)
        optimizer = torch.optim.Adam([mu, log_sd, slope] if tilt else [mu, log_sd], lr=lr)
        for _ in range(num_steps):
            u1 = axis - mu[:, :1]  # (N, n)
            log_q1 = torch.log_softmax(-0.5 * (u1 * (-log_sd[:, :1]).exp()) ** 2, -1)
            centre = mu[:, 1:] + slope * u1 if tilt else mu[:, 1:]  # of u2 given u1: (N, n) or (N, 1)
            u2 = (axis - centre.unsqueeze(-1)) * (-log_sd[:, 1:, None]).exp()
            log_q2 = torch.log_softmax(-0.5 * u2**2, -1)  # (N, n or 1, n)
            inner = (log_q2.exp() * (log_f - log_q2)).sum(-1)
            value = (log_q1.exp() * (inner - log_q1)).sum(-1) + 2 * math.log(spacing)
            optimizer.zero_grad()
            (-value.sum()).backward()
            optimizer.step()
            log_sd.data.clamp_(min=math.log(0.6 * spacing))
        found = torch.cat([value.detach()[:, None], mu.detach(), log_sd.detach().exp()], 1)
        best = torch.where(found[:, :1] > best[:, :1], found, best)
    return best[:, 0], grids.mean + grids.scale * best[:, 1:3], grids.scale * best[:, 3:]
