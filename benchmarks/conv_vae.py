"""A4: part of an epoch of the convolutional VAE, plain float32 against the fast ways. (What they cost in quality is in
A4's notebook.)"""

import torch
import torch.nn.functional as F

from benchmarks.timing import epoch_seconds, gpu_memory, print_table, write_record
from dgm_helpers.data import load_mnist
from dgm_helpers.training import best_device, fit
from dgm_helpers.vae import VAE, ConvDecoder, ConvEncoder, Gaussian

LATENT, BATCH_SIZE, LR = 16, 128, 1e-3
STEPS, ROUNDS = 20, 3  # timed steps of a turn on a processor, after as many others; turns of each way

HALF = {"channels_last": True, "precision": torch.bfloat16}
WAYS = {
    "plain float32": {},
    "channels-last": {"channels_last": True},
    "channels-last, bfloat16": HALF,
    "channels-last, bfloat16, compiled": HALF | {"compile": True},
}


def loss(model, x, generator):
    return -model.elbo(x, generator=generator).mean()


def run(images, *, epochs, channels_last=False, **options):
    """Train a fresh model one of the ways; return its history."""
    torch.manual_seed(0)
    model = VAE(ConvEncoder(LATENT), ConvDecoder(LATENT), LATENT, log_likelihood=Gaussian(0.5)).to(images.device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    generator = torch.Generator(images.device).manual_seed(0)
    settings = {"epochs": epochs, "batch_size": BATCH_SIZE, "lr": LR, "generator": generator, "progress": False}
    return fit(model, loss, images, **settings, **options)


def time_of_epoch(images, way):
    """Seconds of an epoch; on a processor, of STEPS steps and scaled."""
    part = images if images.is_cuda else images[: STEPS * BATCH_SIZE]
    return len(images) / len(part) * epoch_seconds(lambda **options: run(part, **way, **options))


def speed(images):
    """The ways in turn, ROUNDS times; the median time of each."""
    rounds = [[time_of_epoch(images, way) for way in WAYS.values()] for _ in range(ROUNDS)]
    took = {name: sorted(column)[ROUNDS // 2] for name, column in zip(WAYS, zip(*rounds, strict=True), strict=True)}
    times_faster = {name: took["plain float32"] / seconds for name, seconds in took.items()}
    rows = [[name, f"{took[name]:.3g}", f"{times_faster[name]:.2f}"] for name in WAYS]
    print_table(f"A4 model, batches of {BATCH_SIZE}", [["", "seconds an epoch", "times faster"], *rows])
    return {"speed": times_faster, "epoch": took}


def main():
    images = F.pad(load_mnist(device=best_device()).train_images.unflatten(-1, (28, 28)), [2] * 4).flatten(1)
    write_record(__file__, speed(images) | {"memory": gpu_memory()})
