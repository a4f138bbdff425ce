"""Divergences between two distributions, in nats."""

import torch


def _check_distributions(**tensors):
    """Say which tensor is not a distribution over its last axis, or which shapes do not fit."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    sizes = {shape[-1] if shape else 0 for shape in shapes.values()}
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        sizes = set()
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"expected shapes (..., S) with one S >= 1 and leading axes that broadcast, got {came}")
    for name, t in tensors.items():
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
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)
