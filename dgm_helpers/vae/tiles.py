r"""Sums over a fine grid of the latent plane that visit only the tiles where an image's posterior can be.

The plane is cut into square tiles, and their corners are decoded first. Let z lie in a tile, :math:`\lambda_i` be the
weights of its corners in bilinear interpolation, l(z) the logits, :math:`\tilde l = \sum_i \lambda_i l(c_i)`, and
:math:`A(z) = \sum_d \log(1 + e^{l_d(z)}) - \log p(z)`. Since 0 <= x <= 1 and log p(x, z) = x . l(z) - A(z),

.. math:: \log p(x, z) \le \max_i \log p(x, c_i) + \rho(z), \qquad
          \rho = \sum_d \max(l_d - \tilde l_d, 0) + \sum_i \lambda_i A(c_i) - A .

The rise :math:`\rho` knows nothing of the image. It is small where the *decoder* is smooth on the scale of a tile,
however narrow the posterior is. A tile that is decoded has a known rise, and an image skips it only if this bound says
that next to nothing of its mass lies there. Which tiles to decode is foreseen: their rise is taken to be at most a nat
and a multiple of the second differences of l and A at the corners. The multiple stays at least ``SAFETY`` times what
was found, and tiles are added until that holds. So mass escapes only where a decoder changes between corners and
leaves no trace at them.
"""

import math
from typing import NamedTuple

import torch
from torch.nn.functional import max_pool2d, pad

from dgm_helpers.arguments import tensors
from dgm_helpers.probability.densities import log_standard_normal, softplus
from dgm_helpers.probability.quadrature import Grid
from dgm_helpers.vae.likelihoods import Bernoulli

SIDE = 0.2  # of a tile, about
LEFT_OUT = 1e-9  # of an image's posterior mass, at most: less than rounding in float32
SAFETY = 2.0
AT_ONCE = 2**9  # points decoded at a time, so that a convolutional decoder's layers fit into memory
IMAGES = 5000  # whose log p(x, z) at the corners is in memory at a time


class PosteriorSums(NamedTuple):
    """What the sums over a grid say of N posteriors."""

    log_p: torch.Tensor  # (N,): log p(x), nats
    mean: torch.Tensor  # (N, 2)
    sd: torch.Tensor  # (N, 2)
    border: torch.Tensor  # (N,): share of the mass on the grid's outermost points


def decode(model, z):
    """Logits at points (n, 2) and what log p(x, z) subtracts from x . l there: (n, D) and A, (n,).

    Raises ValueError for a likelihood that is not the Bernoulli's.
    """
    if not isinstance(model.log_likelihood, Bernoulli):
        raise ValueError(f"a latent grid is for a Bernoulli, this model has {model.log_likelihood}")
    logits = z.new_empty(len(z), model.decoder(z[:1]).shape[-1])
    for part, points in zip(logits.split(AT_ONCE), z.split(AT_ONCE), strict=True):
        part.copy_(model.decoder(points))
    return logits, torch.cat([softplus(part).sum(-1) for part in logits.split(AT_ONCE)]) - log_standard_normal(z)


def bends(values):
    """Second differences of (n1, n2, D) along both axes, absolute, summed over D: (n1 - 1, n2 - 1), of the tiles.

    Infinite if there are too few points for a second difference: nothing is known then.
    """
    n1, n2 = values.shape[:2]
    if min(n1, n2) < 3:
        return values.new_full((n1 - 1, n2 - 1), math.inf)
    one, two = (values.diff(n=2, dim=axis).abs().sum(-1)[None] for axis in (0, 1))
    return max_pool2d(pad(one, (0, 0, 1, 1), "replicate") + pad(two, (1, 1, 0, 0), "replicate"), 2, 1)[0]


def check_images(x, **grids):
    """Raise TypeError or ValueError unless x is (N, D) and the grids are of ``grid_2d``."""
    tensors(x=x)
    if x.ndim != 2:
        raise ValueError(f"expected images x of shape (N, D), got {tuple(x.shape)}")
    for name, points in grids.items():
        if not isinstance(points, Grid) or points.ndim != 3:
            raise TypeError(f"expected {name} of grid_2d, got {type(points).__name__}")


def occupied_tiles(model, x, points):
    """Yield (rows, index, log_f) until the posteriors are covered: log p(x[rows], z) at points.flatten(0, 1)[index].

    model: a ``VAE`` of bits with two latent dimensions; x: (N, D), between 0 and 1; points: of ``grid_2d``. log_f:
    (len(rows), len(index)), nats, of one tile. A pair of an image and a point comes once, or not at all.
    """
    if len(x) == 0:
        return
    side = max(4, round(SIDE / points.spacing))  # in points
    ends = torch.tensor(points.shape[:2], device=x.device)
    tiles = [math.ceil(n / side) for n in points.shape[:2]]
    steps = torch.cartesian_prod(*(torch.arange(n + 1, device=x.device) for n in tiles))
    logits, constant = decode(model, points[0, 0] + side * points.spacing * steps.to(x.dtype))
    log_f = torch.addmm(-constant, x, logits.T).unflatten(1, [n + 1 for n in tiles])  # at the corners
    logits, constant = (t.unflatten(0, [n + 1 for n in tiles]) for t in (logits, constant))
    least = torch.logsumexp(log_f[:, :-1, :-1], (1, 2)) + math.log(LEFT_OUT / math.prod(tiles)) - 2 * math.log(side)
    excess = max_pool2d(log_f, 2, 1) - least.view(-1, 1, 1)  # with the rise: of a tile's log-mass over the negligible
    bend = bends(torch.cat([logits, constant.unsqueeze(-1)], -1)).clamp(min=1e-6)
    multiple, done = 0.2, torch.zeros_like(excess, dtype=torch.bool)
    offsets = torch.cartesian_prod(*2 * [torch.arange(side, device=x.device)])
    (u, v), flat = (offsets / side).to(x.dtype).T, points.flatten(0, 1)
    weights = torch.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v], 1)  # of a tile's corners
    while (new := (excess + 1 + multiple * bend > 0) & ~done).any():
        for i, row in enumerate(new.any(0)):
            j = row.nonzero()
            at = torch.cat([torch.full_like(j, i), j], 1).unsqueeze(1) * side + offsets  # (tiles, side^2, 2)
            inside, (first, second) = (at < ends).all(-1), at.minimum(ends - 1).unbind(-1)
            index = first * points.shape[1] + second
            fine, c = (t.unflatten(0, index.shape) for t in decode(model, flat[index.flatten()]))
            near, near_c = (
                torch.stack([t[i + a, j[:, 0] + b] for a in (0, 1) for b in (0, 1)], 1) for t in (logits, constant)
            )
            rise = (fine - weights @ near).clamp(min=0).sum(-1) + near_c @ weights.T - c
            rise = rise.where(inside, -math.inf).amax(1)
            multiple = max([multiple, *(SAFETY * (rise - 1) / bend[i, j[:, 0]]).tolist()])
            for tile, k in enumerate(j[:, 0].tolist()):
                rows = (new[:, i, k] & (excess[:, i, k] + rise[tile] > 0)).nonzero()[:, 0]
                keep = inside[tile]
                if len(rows):
                    yield rows, index[tile, keep], torch.addmm(-c[tile, keep], x[rows], fine[tile, keep].T)
        done |= new


@torch.no_grad()
def posterior_sums(model, x, points):
    """log p(x), mean and standard deviations of z given x, and mass at the border, over the grid: PosteriorSums.

    Arguments as of ``occupied_tiles``. The sums are those over all points but for ``LEFT_OUT`` of the mass.
    """
    check_images(x, points=points)
    edge, parts = torch.ones(points.shape[:2], dtype=torch.bool, device=x.device), []
    edge[1:-1, 1:-1] = False
    edge, flat = edge.flatten(), points.flatten(0, 1)
    for batch in x.split(IMAGES):
        log_p, border = batch.new_full((2, len(batch)), -math.inf)
        mean, var = batch.new_zeros(2, len(batch), 2)
        for rows, index, log_f in occupied_tiles(model, batch, points):
            z, q, log_mass = flat[index], torch.softmax(log_f, 1), torch.logsumexp(log_f, 1)
            m = q @ z
            v = q @ (z - z[0]) ** 2 - (m - z[0]) ** 2
            total = torch.logaddexp(log_p[rows], log_mass)
            share, step = (log_mass - total).exp().unsqueeze(1), m - mean[rows]
            var[rows] += share * (v - var[rows] + (1 - share) * step**2)  # the variances of two parts of a density
            mean[rows] += share * step
            log_p[rows] = total
            if (at := edge[index]).any():
                border[rows] = torch.logaddexp(border[rows], torch.logsumexp(log_f[:, at], 1))
        parts.append((log_p + 2 * math.log(points.spacing), mean, var.clamp(min=0).sqrt(), (border - log_p).exp()))
    return PosteriorSums(*map(torch.cat, zip(*parts, strict=True)))
