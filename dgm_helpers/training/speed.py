"""What makes ``fit`` faster where the machine can do it: another precision, compiled parts. Else nothing changes."""

import contextlib
import functools
import time
import warnings

import torch

TOO_SLOW = 5  # a precision that multiplies matrices this many times slower than float32 is emulated


@functools.cache
def slowdown(precision, device):
    """How many times longer one matrix product takes in ``precision`` than in float32: far above 1 where emulated."""

    def seconds(dtype):
        a, b = (torch.ones(shape, dtype=dtype, device=device) for shape in ((128, 512), (512, 512)))
        taken = []
        for _ in range(4):  # the first is a warm-up; the best of the others is free of what else the machine does
            started = time.perf_counter()
            float((a @ b).sum())  # a number on the host: waits for a GPU
            taken.append(time.perf_counter() - started)
        return min(taken[1:])

    return seconds(precision) / seconds(torch.float32)


def usable_precision(precision, device):
    """``precision``, or float32 with a warning where the device has no units for it: a training would take hours."""
    if precision != torch.float32 and (times := slowdown(precision, device)) > TOO_SLOW:
        warnings.warn(
            f"training in float32: {precision} is {times:.0f} times slower on this {device.type}", stacklevel=3
        )
        return torch.float32
    return precision


def compiled_parts(model, device):
    """A context in which the parts of the model run compiled; outside it they are as they were.

    One that does nothing, with a warning, where nothing compiles. The loss itself stays ordinary Python: it may draw
    random numbers and keep lists, which would make a compiled loss be compiled again at every step.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # what a missing compiler raises depends on the backend and on torch's version
        reason = (str(error).strip().splitlines() or [""])[0]
        warnings.warn(f"training without compilation: {type(error).__name__}: {reason}", stacklevel=3)
        return contextlib.nullcontext
    parts = list(model.children()) or [model]
    forwards = [torch.compile(part.forward, dynamic=False) for part in parts]

    @contextlib.contextmanager
    def compiled():
        for part, forward in zip(parts, forwards, strict=True):
            part.forward = forward  # on the instance, in front of the class's own
        try:
            yield
        finally:
            for part in parts:
                del part.forward

    return compiled
