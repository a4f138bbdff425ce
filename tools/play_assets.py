"""Write what the pages of ``book/play`` compute with: the decoder's weights, the encoded test digits, the banana.

    python tools/play_assets.py FOLDER     # decoder.js, codes.js, banana.js; the site's build does this, without data
    python tools/play_assets.py --encode   # after a retraining: book/play/latent_codes.safetensors afresh, from MNIST

The assets are scripts that hold base64 text, because a page opened from disk may load a script but not fetch a file.
"""

import argparse
import base64
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dgm_helpers.data.banana import BANANA_MEAN, BANANA_SIZE, BANANA_STD, banana_log_joint
from dgm_helpers.data.mnist import fixed_binarisation, load_mnist
from dgm_helpers.probability.quadrature import grid_2d, moments
from dgm_helpers.training import digest, read_file, weights_dir
from dgm_helpers.vae.runs import vae_2d_model

CODES = Path(__file__).resolve().parent.parent / "book" / "play" / "latent_codes.safetensors"
TOP = 2047  # the largest whole number of 12 bits with sign
TOLERANCE = 5e-4  # of a pixel's probability, over the plane that the page shows
GRID_RANGE, GRID_SPACING = (-5.0, 5.0), 0.01  # of the banana's exact moments, as in notebooks/mcmc/banana_hmc.ipynb


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
    save_file({"codes": codes, "labels": labels}, path, {"weights": weights, "limit": str(limit)})


def read_codes(weights, path=CODES):
    """Stored codes, labels and limit. Raises ValueError if they are another encoder's."""
    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
        if notes["weights"] != weights:
            raise ValueError(
                f"{path} was encoded with other weights than weights/vae_2d.safetensors holds; "
                "run `python tools/play_assets.py --encode`, which needs MNIST"
            )
        return file.get_tensor("codes"), file.get_tensor("labels"), int(notes["limit"])


def round_columns(weight, inputs, damping=1e-3):
    r"""Whole numbers of 12 bits, and one scale for each column, so that products with ``inputs`` change little.

    weight: (O, I), float64; inputs: (N, I). Rounding each weight to the nearest would be seven times too coarse. Here,
    column by column, those still to be rounded move to make up for the error in the products, by least squares
    (Frantar et al. 2023, GPTQ, section 3). ``damping`` keeps them close: a few steps off at most.
    Returns (O, I) of int16 and (I,).
    """
    scale = weight.abs().amax(0).clamp(min=1e-12) / TOP
    gram = inputs.T @ inputs / len(inputs)
    gram += damping * gram.diag().mean() * torch.eye(len(gram), dtype=gram.dtype)
    order = (gram.diag() * scale**2).argsort(descending=True)  # what matters most goes first
    factor = torch.linalg.cholesky(torch.linalg.inv(gram[order][:, order]), upper=True)
    rest, rounded = weight[:, order].clone(), torch.empty_like(weight, dtype=torch.int16)
    for i, column in enumerate(order):
        whole = (rest[:, i] / scale[column]).round().clamp(-TOP, TOP)
        error = (rest[:, i] - whole * scale[column]) / factor[i, i]
        rest[:, i + 1 :] -= error.unsqueeze(-1) * factor[i, i + 1 :]
        rounded[:, column] = whole.to(torch.int16)
    return rounded, scale


def pack_12(values):
    """Two whole numbers of 12 bits with sign in three bytes: an even number of values -> bytes."""
    low, high = (np.asarray(values).ravel().astype(np.int32) + 2048).reshape(-1, 2).T
    return np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], -1).astype(np.uint8).tobytes()


def text(data):
    """Base64 of bytes, or of a tensor as float32."""
    return base64.b64encode(data if isinstance(data, bytes) else data.float().numpy().tobytes()).decode()


def decoder_asset(decoder, limit):
    """Both layers, the large one rounded. Raises ValueError if a probability on the plane is off by TOLERANCE."""
    first, _, second = decoder.double().body
    axis = torch.linspace(-limit, limit, 41, dtype=torch.float64)
    rounded, scale = round_columns(second.weight, first(torch.cartesian_prod(axis, axis)).relu())
    middles = (axis[:-1] + axis[1:]) / 2  # points that the rounding has not seen
    hidden = first(torch.cartesian_prod(middles, middles)).relu()
    approximate = torch.sigmoid(hidden @ (rounded * scale).T + second.bias)
    error = float((approximate - torch.sigmoid(second(hidden))).abs().max())
    if error > TOLERANCE:
        raise ValueError(f"a pixel's probability is off by {error:.1e}, expected at most {TOLERANCE}")
    return {
        "hidden": first.out_features,
        "data_dim": second.out_features,
        "weight_1": text(first.weight),
        "bias_1": text(first.bias),
        "weight_2": text(pack_12(rounded.T)),  # hidden unit by hidden unit: one that is off is skipped whole
        "scale_2": text(scale),
        "bias_2": text(second.bias),
    }


def codes_asset(codes, labels, limit):
    """z1, z2 and label in four bytes for each test digit, 12, 12 and 8 bits."""
    z1, z2 = codes.numpy().astype(np.int32).astype(np.uint32).T & 4095  # two's complement
    packed = z1 | z2 << 12 | labels.numpy().astype(np.uint32) << 24
    return {"limit": limit, "step": limit / TOP, "packed": text(packed.astype("<u4").tobytes())}


def banana_asset():
    """The posterior's constants, and its exact mean by quadrature."""
    points = grid_2d(*GRID_RANGE, GRID_SPACING, dtype=torch.float64)
    mean, _ = moments(banana_log_joint(points), points)
    return {
        "SIZE": BANANA_SIZE,
        "MEAN": BANANA_MEAN,
        "STD": BANANA_STD,
        "exact_mean": [round(m, 12) + 0.0 for m in mean.tolist()],
    }


def write_assets(folder):
    model, weights = load_model()
    codes, labels, limit = read_codes(weights)
    assets = {
        "decoder": decoder_asset(model.decoder, limit),
        "codes": codes_asset(codes, labels, limit),
        "banana": banana_asset(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in assets.items():
        script = f"((window.dgm ??= {{}}).assets ??= {{}}).{name} = {json.dumps(value)};\n"
        (folder / f"{name}.js").write_text(script, encoding="utf8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--encode", action="store_true")
    arguments = parser.parse_args()
    if not arguments.encode and arguments.folder is None:
        parser.error("say where to write, or --encode")
    if arguments.encode:
        write_codes()
    if arguments.folder:
        write_assets(arguments.folder)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"play_assets: {error}")
