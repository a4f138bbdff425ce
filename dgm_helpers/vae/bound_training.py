"""Bounds of models that are trained by ``multisample``, in parts that fit the memory, and what seeds make of them.

N images of D pixels, K draws for each. A graphics card decodes many draws at once, a processor few that fit its cache.
"""

import contextlib
import copy
import functools
import math

import torch

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.probability.densities import log_mean_exp

BOUND_COUNTS = [1, 5, 10, 50, 100, 500, 1000, 5000]  # each divides the next
AT_ONCE = {"cpu": 1000, "cuda": 50_000}  # decoded images in memory


def pixel_log_odds(grey):
    """Log-odds of the mean image, clipped to [0.001, 0.999]: (N, D) -> (D,). Code of Burda et al. (2016).

    As a decoder's last bias it makes p(x) the pixels' means, before training has given z a meaning.
    """
    return torch.logit(grey.mean(0).clamp(0.001, 0.999))


@torch.no_grad()
def log_weights_in_parts(model, x, num_samples, *, generator):
    """log w of many draws, (N, D) -> (K, N): part by part, so that little is held in memory.

    Raises ValueError for a K above 1000 (on a graphics card 50 000) that is no multiple of it.
    """
    tensors(x=x)
    if x.ndim != 2:
        raise ValueError(f"expected images x of shape (N, D), got {tuple(x.shape)}")
    num_samples = whole("num_samples", num_samples, 1)
    at_once = AT_ONCE.get(x.device.type, AT_ONCE["cpu"])
    images, draws = max(1, at_once // num_samples), min(num_samples, at_once)
    if num_samples % draws:
        raise ValueError(f"expected num_samples up to {draws} or a multiple of it, got {num_samples}")
    parts = [
        torch.cat([model.log_weights(part, draws, generator=generator) for _ in range(num_samples // draws)])
        for part in x.split(images)
    ]
    return torch.cat(parts, 1)


def bounds_in_parts(model, x, counts, *, generator):
    """L_K of every image for each K of counts, (N, len(counts)), nats: the same draws, in groups of K.

    counts: rising; each divides the last one, which is the number of draws. Raises ValueError otherwise.
    """
    if len(counts) == 0:
        raise ValueError("expected at least one number of draws, got none")
    most = whole("counts[-1]", counts[-1], 1)
    if list(counts) != sorted(counts) or any(most % k for k in counts):
        raise ValueError(f"expected rising counts that divide the last one, got {list(counts)}")
    log_w = log_weights_in_parts(model, x, most, generator=generator)
    return torch.stack([log_mean_exp(log_w.unflatten(0, (-1, k)), 1).mean(0) for k in counts], 1)


def measured_bounds(run, x):
    """The bounds of a run's model on the bits x, (N, D), measured once: {"log_p": (N,), "mean": (8,)}, nats.

    log_p: L_5000 of every image; mean: the mean of every L_K of ``BOUND_COUNTS``.
    """

    def bounds(model, x, generator, counts=BOUND_COUNTS):
        of_images = bounds_in_parts(model, x, counts, generator=generator)
        return {"log_p": of_images[:, -1], "mean": of_images.mean(0)}

    few = functools.partial(bounds, counts=BOUND_COUNTS[:4])
    return run.measure("test", bounds, x, seed=1, probe=few, bounds=BOUND_COUNTS)


def log_p_of_seeds(values):
    """L_5000 of every image, {objective: (seeds, N)}, from the ``measured_bounds`` of {(objective, seed): ...}."""
    return {of: torch.stack([v["log_p"] for (name, _), v in values.items() if name == of]) for of, _ in values}


def mean_gain(log_p, other, spread):
    """How much higher log_p is than other, image by image, and the standard error of that: two floats, nats.

    log_p, other: (seeds, N), of the same images; spread: standard deviation of a mean over images from seed to seed.
    The error holds both the images and the seeds.
    """
    tensors(floating=True, log_p=log_p, other=other)
    if log_p.ndim != 2 or other.ndim != 2 or 0 in log_p.shape or log_p.shape[1:] != other.shape[1:] or 0 in other.shape:
        raise ValueError(f"expected (seeds, N) of the same images, got {tuple(log_p.shape)} and {tuple(other.shape)}")
    gain = log_p.mean(0) - other.mean(0)
    return float(gain.mean()), float((gain.var() / len(gain) + spread**2 * (1 / len(log_p) + 1 / len(other))) ** 0.5)


class _Enough(Exception):
    pass


def first_losses(run, steps):
    """Losses of a run's first steps, trained afresh from its seed on the processor: (steps,), nats."""
    seen, short = [], copy.copy(run)

    def loss(*arguments):
        if len(seen) == steps:
            raise _Enough
        seen.append(run.loss(*arguments))
        return seen[-1]

    short.loss, short.data, short.device = loss, run.data.cpu(), torch.device("cpu")
    with contextlib.suppress(_Enough), torch.enable_grad():
        short.start()
    return torch.stack([value.detach() for value in seen])


def measured_first_epoch(run, other):
    """``first_losses`` of a whole epoch of a run and of one that it is compared with, measured once.

    {"run": (steps,), "other": (steps,)}. The first three of each are computed again at every load.
    """

    whole = math.ceil(len(run.data) / run.options["batch_size"])

    def losses(model, x, generator, steps=whole):
        return {"run": first_losses(run, steps), "other": first_losses(other, steps)}

    probe = functools.partial(losses, steps=3)
    return run.measure("first", losses, run.data, seed=run.seed, probe=probe, other=other.options)
