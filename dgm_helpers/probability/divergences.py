"""Divergences between two distributions, in nats."""

import math

import torch
from scipy.spatial import cKDTree

from dgm_helpers.arguments import tensors, whole


def _check_distributions(**named):
    """Say which tensor is not a distribution over its last axis, or which shapes do not fit."""
    tensors(**named)
    shapes = {name: tuple(t.shape) for name, t in named.items()}
    came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    sizes = {shape[-1] if shape else 0 for shape in shapes.values()}
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        sizes = set()
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"expected shapes (..., S) with one S >= 1 and leading axes that broadcast, got {came}")
    for name, t in named.items():
        if not t.is_floating_point():
            raise ValueError(f"expected probabilities in floating point, got {name} of {t.dtype}")
        if (t < 0).any():
            raise ValueError(f"expected probabilities >= 0, got {name} with smallest entry {t.min().item():.3g}")
        gap = (t.sum(-1) - 1).abs()
        if not (gap <= torch.finfo(t.dtype).eps ** 0.5).all():  # a NaN or an infinity fails too
            raise ValueError(f"expected {name} to sum to 1 over its last axis, got sums off by {gap.max().item():.3g}")


def kl_discrete(p, q):
    r"""KL divergence between distributions on S states, :math:`\operatorname{KL}(p\|q) = \sum_s p_s \log(p_s / q_s)`.

    p, q: ``(..., S)``; the leading axes broadcast, the last sums to 1 (to the square root of the dtype's precision).
    Returns ``(...)``, nats: :math:`0\log 0 = 0`, and :math:`+\infty` where some :math:`p_s > 0 = q_s`. Raises
    ValueError for a negative or non-finite entry, a sum other than 1, or shapes that do not fit.
    Bishop (2006), eq. 1.113.
    """
    _check_distributions(p=p, q=q)
    change = (q - p) / p.clamp_min(torch.finfo(p.dtype).tiny)
    near, far = torch.special.xlog1py(p, change), torch.xlogy(p, q) - torch.xlogy(p, p)
    return (q - p - torch.where(2 * q > p, near, far)).sum(-1)  # the sum of q - p is 0; with it no term is negative


def _check_points(x, y, k):
    """Say what keeps k-th neighbour distances from being defined."""
    shapes = f"x {tuple(x.shape)}, y {tuple(y.shape)}"
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] == 0:
        raise ValueError(f"expected points x (n, D) and y (m, D) with one D >= 1, got {shapes}")
    if len(x) <= k or len(y) < k:  # a point is not its own neighbour
        raise ValueError(f"expected more than k points x and at least k points y, got {k=} with {shapes}")
    for name, points in (("x", x), ("y", y)):
        if not points.isfinite().all():
            raise ValueError(f"expected finite points, got {int((~points.isfinite()).any(1).sum())} others in {name}")


def _neighbour_distance(points, queries, k):
    """Distance of each query to its k-th nearest point: (m, D) and (n, D) to (n,). By a tree, or in many dimensions,
    where a tree visits most points, by comparing all; a matrix product orders them, their distances are then taken."""
    if points.shape[1] < 8:
        return torch.from_numpy(cKDTree(points.numpy()).query(queries.numpy(), k=[k])[0][:, 0])
    squares, found = points.square().sum(1), []
    for part in queries.split(500):
        nearest = torch.addmm(squares, part, points.T, alpha=-2).topk(k, largest=False).indices
        found.append((part.unsqueeze(1) - points[nearest]).norm(dim=-1).amax(1))
    return torch.cat(found)


def kl_knn(x, y, k=3):
    r"""Estimate KL(p || q) from draws, :math:`\frac Dn\sum_i \log\frac{\nu_k(i)}{\rho_k(i)} + \log\frac{m}{n-1}`.

    x ~ p: ``(n, D)``; y ~ q: ``(m, D)``; independent draws from densities. :math:`\rho_k(i)` and :math:`\nu_k(i)` are
    the Euclidean distances from :math:`x_i` to its k-th neighbour among the other x and among the y. Returns a float,
    nats; it can be negative. Consistent, not unbiased: far too small where q has next to no draws. Raises ValueError if
    shapes do not fit, k is too large, or a k-th neighbour is a duplicate, at distance zero (a Markov chain that repeats
    its state: thin it). Wang, Kulkarni and Verdú (2009), section II.
    """
    x, y = (torch.as_tensor(t, dtype=torch.float64, device="cpu").detach() for t in (x, y))
    k = whole("k", k, 1)
    _check_points(x, y, k)
    rho = _neighbour_distance(x, x, k + 1)  # the nearest is the point itself
    nu = _neighbour_distance(y, x, k)
    for name, distance in (("x", rho), ("y", nu)):
        if count := int((distance == 0).sum()):
            raise ValueError(f"expected distinct points, got {count} of x at distance 0 from neighbour {k} in {name}")
    n, dim = x.shape
    return dim * float((nu / rho).log().mean()) + math.log(len(y) / (n - 1))
