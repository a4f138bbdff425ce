"""Training by a bound on bits drawn afresh, and measuring the bounds of what came out: for models of ``multisample``.

N images of D pixels, K draws for each. A graphics card decodes many draws at once, a processor few that fit its cache.
"""

import torch

from dgm_helpers.data.mnist import binarise
from dgm_helpers.probability.densities import log_mean_exp
from dgm_helpers.training.fit import fit
from dgm_helpers.training.measuring import measured
from dgm_helpers.vae.bounds import iwae

AT_ONCE = {"cpu": 1000, "cuda": 50_000}  # decoded images in memory


def pixel_log_odds(grey):
    """Log-odds of the mean image, clipped to [0.001, 0.999]: (N, D) -> (D,). Code of Burda et al. (2016).

    As a decoder's last bias it makes p(x) the pixels' means, before training has given z a meaning.
    """
    return torch.logit(grey.mean(0).clamp(0.001, 0.999))


def train_by_bound(model, bound, grey, num_samples, *, seed, **options):
    """Maximise a bound of ``multisample`` with K draws; pixels are drawn afresh at every access. Returns the History.

    grey: (N, D), probabilities of ink, on the model's device. options: those of ``fit``. A graphics card multiplies
    matrices in TF32 here; a processor as ever.
    """

    def loss(model, grey, generator):
        return -bound(model, binarise(grey, generator), num_samples, generator=generator).mean()

    torch.set_float32_matmul_precision("high")
    try:
        return fit(model, loss, grey, generator=torch.Generator(grey.device).manual_seed(seed), **options)
    finally:
        torch.set_float32_matmul_precision("highest")


@torch.no_grad()
def log_weights_in_parts(model, x, num_samples, *, generator):
    """log w of many draws, (N, D) -> (K, N): part by part, so that little is held in memory.

    Raises ValueError for a K above 1000 (on a graphics card 50 000) that is no multiple of it.
    """
    at_once = AT_ONCE[x.device.type]
    images, draws = max(1, at_once // num_samples), min(num_samples, at_once)
    if num_samples % draws:
        raise ValueError(f"expected num_samples up to {draws} or a multiple of it, got {num_samples}")
    parts = [
        torch.cat([model.log_weights(part, draws, generator=generator) for _ in range(num_samples // draws)])
        for part in x.split(images)
    ]
    return torch.cat(parts, 1)


def curve_evaluation(sets, num_samples):
    """An ``evaluate`` for ``fit``: the ELBO and -L_K of the images of each set, by the same draws at every epoch.

    sets: {name: (N, D)}. The record's keys are ``<name>_elbo`` and ``<name>_nll``, in nats.
    """

    def evaluate(model):
        record, generator = {}, torch.Generator(next(iter(sets.values())).device).manual_seed(0)
        for name, x in sets.items():
            log_w = log_weights_in_parts(model, x, num_samples, generator=generator)
            record |= {f"{name}_elbo": float(log_w.mean()), f"{name}_nll": -float(iwae(log_w).mean())}
        return record

    return evaluate


def bounds_in_parts(model, x, counts, *, generator):
    """L_K of every image for each K of counts, (N, len(counts)), nats: the same draws, in groups of K.

    counts: rising; each divides the last one, which is the number of draws. Raises ValueError otherwise.
    """
    most = counts[-1]
    if list(counts) != sorted(counts) or any(most % k for k in counts):
        raise ValueError(f"expected rising counts that divide the last one, got {list(counts)}")
    columns = []
    for part in x.split(max(1, AT_ONCE[x.device.type] // most)):
        log_w = log_weights_in_parts(model, part, most, generator=generator)
        columns.append(torch.stack([log_mean_exp(log_w.unflatten(0, (-1, k)), 1).mean(0) for k in counts], 1))
    return torch.cat(columns)


def measured_bounds(name, model, x, counts, *, seed):
    """The last bound of every image, ``log_p`` (N,), and the ``mean`` of every bound, measured once and stored.

    The Values and the errors are those of ``measuring.measured``.
    """

    def measure():
        bounds = bounds_in_parts(model, x, counts, generator=torch.Generator(x.device).manual_seed(seed))
        return {"log_p": bounds[:, -1], "mean": bounds.mean(0)}

    shapes = {"log_p": len(x), "mean": len(counts)}
    return measured(name, model, x, shapes, measure, bounds=list(counts), seed=seed)
