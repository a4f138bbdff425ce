"""A4: part of an epoch of the convolutional VAE, plain float32 against the fast ways. (What they cost in quality is in
A4's notebook.)"""

import math

import torch
import torch.nn.functional as F

from benchmarks.timing import epoch_seconds, gpu_memory, print_table, write_record
from dgm_helpers.data.mnist import load_mnist
from dgm_helpers.probability.densities import log_normal
from dgm_helpers.training.fit import best_device, fit
from dgm_helpers.vae.convolutional import ConvDecoder, ConvEncoder
from dgm_helpers.vae.model import VAE

LATENT, BATCH_SIZE, LR = 16, 128, 1e-3
STEPS, ROUNDS = 20, 3  # timed steps of a turn on a processor, after as many others; turns of each way

PLAIN = {}
LAYOUT = {"channels_last": True}
HALF = {"channels_last": True, "precision": torch.bfloat16}
FAST = HALF | {"compile": True}
WAYS = {
    "plain float32": PLAIN,
    "channels-last": LAYOUT,
    "channels-last, bfloat16": HALF,
    "channels-last, bfloat16, compiled": FAST,
}


def log_likelihood(x, mu):
    return log_normal(x, mu, x.new_full((), math.log(0.5)))


def loss(model, x, generator):
    return -model.elbo(x, generator=generator).mean()


def run(images, way, *, epochs, seed=0, **options):
    """Train a fresh model one of the ways; return it and its history."""
    settings = dict(way)
    torch.manual_seed(seed)
    model = VAE(ConvEncoder(LATENT), ConvDecoder(LATENT), LATENT, log_likelihood=log_likelihood).to(images.device)
    if settings.pop("channels_last", False):
        model.to(memory_format=torch.channels_last)
    generator = torch.Generator(images.device).manual_seed(seed)
    settings |= {"epochs": epochs, "batch_size": BATCH_SIZE, "lr": LR, "generator": generator, "progress": False}
    return model, fit(model, loss, images, **settings, **options)


def time_of_epoch(images, way):
    """Seconds of an epoch; on a processor, of STEPS steps and scaled."""
    part = images if images.is_cuda else images[: STEPS * BATCH_SIZE]
    return len(images) / len(part) * epoch_seconds(lambda **options: run(part, way, **options)[1])


def speed(images):
    """The ways in turn, ROUNDS times; the median time of each."""
    rounds = [[time_of_epoch(images, way) for way in WAYS.values()] for _ in range(ROUNDS)]
    took = [sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True)]
    rows = [["", "seconds an epoch", "times faster"]]
    for name, seconds in zip(WAYS, took, strict=True):
        rows.append([name, f"{seconds:.3g}", f"{took[0] / seconds:.2f}"])
    print_table(f"A4 model, batches of {BATCH_SIZE}", rows)
    times_faster = {name: took[0] / seconds for name, seconds in zip(WAYS, took, strict=True)}
    return {"speed": times_faster, "epoch": dict(zip(WAYS, took, strict=True))}


def main():
    images = F.pad(load_mnist(device=best_device()).train_images.unflatten(-1, (28, 28)), [2] * 4).flatten(1)
    write_record(__file__, speed(images) | {"memory": gpu_memory()})
