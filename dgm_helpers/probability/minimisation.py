"""Local minima of smooth functions of a few parameters."""

import math

import torch

from dgm_helpers.arguments import tensors


def minimise(objective, *start):
    """A local minimum by L-BFGS with a strong-Wolfe line search: ``(values, minimum)``.

    objective: maps tensors like those of ``start`` to a scalar. Returns where it ends, as a list of tensors, and the
    objective there, a float. Raises ValueError if it is not finite at ``start``. Nocedal and Wright (2006), chapter 7.
    """
    tensors(floating=True, **{f"start[{i}]": s for i, s in enumerate(start)})
    if not start or any(s.numel() == 0 for s in start):
        raise ValueError(f"expected tensors to start from, got shapes {[tuple(s.shape) for s in start]}")
    first = objective(*start).item()
    if not math.isfinite(first):
        raise ValueError(f"expected an objective that is finite at the start, got {first}")
    values = [s.detach().clone().requires_grad_() for s in start]
    settings = {"max_iter": 500, "tolerance_grad": 1e-11, "tolerance_change": 1e-16, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS(values, **settings)

    def loss():
        optimiser.zero_grad()
        value = objective(*values)
        value.backward()
        return value

    optimiser.step(loss)
    return [v.detach() for v in values], objective(*values).item()
