"""Encode the test digits afresh, after a retraining: ``book/play/latent_codes.safetensors``, from MNIST.

    python tools/play_codes.py

The site is built from this file, without MNIST and without PyTorch (``play_assets.py``).
"""

import math
import os
import sys

import torch
from play_assets import CODES, TOP
from safetensors.torch import save_file

from dgm_helpers.data.mnist import fixed_binarisation, load_mnist
from dgm_helpers.training import digest, read_file, weights_dir
from dgm_helpers.vae.runs import vae_2d_model


def load_model():
    """The VAE with its stored weights, and a hash of them."""
    tensors, *_ = read_file(weights_dir() / "vae_2d.safetensors")
    model = vae_2d_model()
    model.load_state_dict(tensors)
    model.requires_grad_(False)
    return model, digest(torch.cat([tensors[name].flatten() for name in sorted(tensors)]))


def encode(model):
    """Posterior means of the test digits in whole steps of limit / TOP, (10000, 2), their labels, and the limit.

    The binarised digits and the means are those of the notebook's scatter.
    """
    mnist = load_mnist()
    means = model.encoder(fixed_binarisation(mnist.test_images))[0]
    limit = math.ceil(float(means.abs().max()))
    return (means * TOP / limit).round().to(torch.int16), mnist.test_labels.to(torch.uint8), limit


def write_codes(path=CODES):
    model, weights = load_model()
    codes, labels, limit = encode(model)
    partial = path.with_suffix(".partial")
    save_file({"codes": codes, "labels": labels}, partial, {"weights": weights, "limit": str(limit)})
    os.replace(partial, path)  # whole or not at all


if __name__ == "__main__":
    try:
        write_codes()
    except (OSError, ValueError) as error:
        sys.exit(f"play_codes: {error}")
