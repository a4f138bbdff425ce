"""What every chapter asks of its arguments. An error names what was expected and what came."""

import operator

import torch


def whole(name, value, smallest):
    """The value as an int: Python's, NumPy's or torch's. Raises ValueError for any other, or one below the smallest."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < smallest:
        raise ValueError(f"expected a whole number {name} >= {smallest}, got {value!r}")
    return number


def tensors(*, floating=False, alike=False, **named):
    """Raise unless all are tensors on one device, and if asked for in floating point, and of one dtype."""
    kind = "tensors in floating point" if floating else "tensors"
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"expected {kind}, got {name} of type {type(value).__name__}")
        if floating and not value.is_floating_point():
            raise TypeError(f"expected {kind}, got {name} of {value.dtype}")
    if alike and len({value.dtype for value in named.values()}) > 1:
        came = ", ".join(f"{name} of {value.dtype}" for name, value in named.items())
        raise TypeError(f"expected {kind} of one dtype, got {came}")
    places = {name: value.device.type for name, value in named.items() if value.ndim > 0 or value.device.type != "cpu"}
    if len(set(places.values())) > 1:
        came = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"expected tensors on one device, got {came}")


def rows(x, size, like, what="points", *, batch=False):
    """Raise unless x, ``(..., size)`` or a batch ``(B, size)``, fits a network whose parameter is ``like``."""
    tensors(**{what: x})
    if x.ndim == 0 or x.shape[-1] != size or (batch and x.ndim != 2):
        raise ValueError(f"expected {what} of shape ({'B' if batch else '...'}, {size}), got {tuple(x.shape)}")
    if x.device.type != like.device.type:
        raise ValueError(f"expected {what} on the model's device {like.device}, got {x.device}")
    if x.dtype != like.dtype and not torch.is_autocast_enabled(like.device.type):
        raise TypeError(f"expected {what} of the model's {like.dtype}, got {x.dtype}")
