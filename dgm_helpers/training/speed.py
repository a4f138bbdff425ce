"""What makes ``fit`` faster where the machine can do it: another precision, compiled parts. Else it says so."""

import contextlib
import functools
import time
import warnings

import torch

_ways = {}  # see ``ways``
TOO_SLOW = 5  # a precision that multiplies matrices this many times slower than float32 is emulated


def ways():
    """Which way ran: of each fast way, for the call that last asked for it, "" if it ran and else why it did not.

    The keys, so far as they were asked for: "precision", "compilation" and "CUDA graph".
    """
    return dict(_ways)


def took(way, why_not="", *, instead=""):
    """Note whether a fast way ran. If not, warn of what runs ``instead``; Python shows the same warning once."""
    _ways[way] = why_not
    if why_not:
        warnings.warn(f"{instead}: {why_not}", stacklevel=2)


def reason(error):
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


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
    if precision == torch.float32:
        return precision
    if (times := slowdown(precision, device)) > TOO_SLOW:
        why_not = f"{precision} is {times:.0f} times slower on this {device.type}"
        took("precision", why_not, instead="training in float32")
        return torch.float32
    took("precision")
    return precision


def compiled_parts(model, device):
    """A context in which the parts of the model run compiled; outside it they are as they were.

    One that does nothing, with a warning, where nothing compiles. The loss itself stays ordinary Python: it may draw
    random numbers and keep lists, which would make a compiled loss be compiled again at every step.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # what a missing compiler raises depends on the backend and on torch's version
        took("compilation", reason(error), instead="training without compilation")
        return contextlib.nullcontext
    took("compilation")
    parts = list(model.children()) or [model]
    forwards = [torch.compile(part.forward, dynamic=False) for part in parts]

    own = [vars(part).get("forward") for part in parts]  # where a caller has set one

    @contextlib.contextmanager
    def compiled():
        for part, forward in zip(parts, forwards, strict=True):
            part.forward = forward  # on the instance, in front of the class's own
        try:
            yield
        finally:
            for part, forward in zip(parts, own, strict=True):
                del part.forward
                if forward is not None:
                    part.forward = forward

    return compiled
