"""Integration over the plane by a Riemann sum in log space.

For a smooth integrand that has died out at the border, the plain sum on an equally spaced grid is not crude: it is the
trapezoidal rule, whose error falls faster than any power of the spacing (Trefethen and Weideman 2014).
"""

import math

import torch

from dgm_helpers.arguments import tensors, whole


class Grid(torch.Tensor):
    """Points ``(n1, n2, 2)`` that know their ``spacing``. What is computed from them is an ordinary tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl


def grid_2d(lower, upper, spacing, *, dtype=torch.float32, device=None):
    """Equally spaced points of the square [lower, upper]^2, as a Grid.

    lower, upper: numbers, or a pair for the two axes. Returns ``(n1, n2, 2)``: entry [i, j] is the point (z1_i, z2_j).
    The last point is the largest lower + i * spacing that does not pass upper. Raises ValueError unless
    lower < upper and spacing > 0.
    """
    low, high = (a if isinstance(a, (tuple, list)) else (a, a) for a in (lower, upper))
    if len(low) != 2 or len(high) != 2:
        raise ValueError(f"expected numbers or pairs lower and upper, got {lower=}, {upper=}")
    if not (low[0] < high[0] and low[1] < high[1] and spacing > 0):
        raise ValueError(f"expected lower < upper and spacing > 0, got {lower=}, {upper=}, {spacing=}")
    # counted in whole steps, so that rounding cannot drop or add the last point; 1e-6 of a step is forgiven
    counts = [math.floor((h - a) / spacing + 1e-6) + 1 for a, h in zip(low, high, strict=True)]
    axes = [a + spacing * torch.arange(n, dtype=torch.float64) for a, n in zip(low, counts, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).to(dtype=dtype, device=device).as_subclass(Grid)
    points.spacing = spacing
    return points


def log_integral(log_f, spacing):
    r"""Stable :math:`\log\int e^{\log f(z)}\,dz \approx \log\sum_{ij} f(z_{ij})\,h^2`.

    log_f: ``(..., n1, n2)`` on a grid of spacing h. Returns ``(...)``. Raises ValueError for fewer than two axes.
    """
    tensors(floating=True, log_f=log_f)
    if log_f.ndim < 2:
        raise ValueError(f"expected log_f of shape (..., n1, n2), got {tuple(log_f.shape)}")
    if not spacing > 0:
        raise ValueError(f"expected spacing > 0, got {spacing}")
    return torch.logsumexp(log_f, (-2, -1)) + 2 * math.log(spacing)


def moments(log_f, points):
    r"""Mean and covariance of the normalised density proportional to :math:`e^{\log f}` on a grid.

    log_f: ``(..., n1, n2)``; points: ``(n1, n2, 2)``. Returns ``(..., 2)`` and ``(..., 2, 2)``.
    """
    tensors(floating=True, alike=True, log_f=log_f, points=points)
    if log_f.shape[-2:] != points.shape[:2]:
        raise ValueError(f"expected log_f on the grid {tuple(points.shape[:2])}, got (..., {tuple(log_f.shape[-2:])})")
    weights = torch.softmax(log_f.flatten(-2), -1)
    points = points.flatten(0, 1)
    mean = weights @ points
    centred = points - mean.unsqueeze(-2)
    return mean, torch.einsum("...g,...gi,...gj->...ij", weights, centred, centred)


def mass_levels(log_f, masses=(0.99, 0.9, 0.5)):
    """Values of log_f on an equally spaced grid, ``(n1, n2)``, above which lie these shares of its mass."""
    tensors(floating=True, log_f=log_f)
    if log_f.numel() == 0 or not all(0 < share < 1 for share in masses):
        raise ValueError(f"expected log_f (n1, n2) and masses between 0 and 1, got {tuple(log_f.shape)} and {masses}")
    ordered = log_f.flatten().sort(descending=True).values
    mass = torch.softmax(ordered, 0).cumsum(0)
    return [float(ordered[int((mass < share).sum())]) for share in masses]


def log_evidence(log_joint, x, spacing, *, batch_size=100):
    r"""Exact :math:`\log p(x) = \log\int p(x, z)\,dz` of many examples over one shared grid.

    log_joint: maps a batch ``(b, D)`` to :math:`\log p(x, z)` on the grid, ``(b, n1, n2)``. x: ``(N, D)``.
    Returns ``(N,)``, nats; at most ``batch_size`` grids are in memory at a time.
    """
    tensors(x=x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"expected x of shape (N, D) with N >= 1, got {tuple(x.shape)}")
    batch_size = whole("batch_size", batch_size, 1)
    with torch.no_grad():
        return torch.cat([log_integral(log_joint(batch), spacing) for batch in x.split(batch_size)])
