"""The gradient of a value in all parameters of a model, as one vector."""

import torch


def gradient(model, value):
    """Backpropagate a scalar; a parameter that it does not reach has slope 0. Returns ``(number of parameters,)``."""
    model.zero_grad()
    value.backward()
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )
