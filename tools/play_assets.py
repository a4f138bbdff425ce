"""Write what the pages of ``book/play`` compute with: the decoder's weights, the encoded test digits, the banana.

    python tools/play_assets.py FOLDER     # decoder.js, codes.js, banana.js; the site's build does this

It needs NumPy alone, as the site is built without PyTorch, and no data. The assets are scripts that hold base64 text,
because a page opened from disk may load a script but not fetch a file.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS, CODES = ROOT / "weights" / "vae_2d.safetensors", ROOT / "book" / "play" / "latent_codes.safetensors"
TOP = 2047  # the largest whole number of 12 bits with sign
TOLERANCE = 5e-4  # of a pixel's probability, over the plane that the page shows
BANANA = {"SIZE": 100, "MEAN": 1.1179132108624679, "STD": 1.9120406866588326}  # as in dgm_helpers/data/banana.py
GRID_LIMIT, GRID_SPACING = 5, 0.01  # of the banana's exact moments, as in notebooks/mcmc/banana_hmc.ipynb


def read(path):
    """The arrays of a file of safetensors, and the text beside them."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)


def digest(arrays):
    """The hash that ``dgm_helpers.training.digest`` gives to all values of a model, in the order of their names."""
    values = np.concatenate([arrays[name].ravel() for name in sorted(arrays)])
    return hashlib.sha256(f"{values.shape} torch.{values.dtype}".encode() + values.tobytes()).hexdigest()[:16]


def read_codes(weights, path=CODES):
    """Stored codes, labels and limit. Raises ValueError if they are another encoder's."""
    arrays, notes = read(path)
    if notes["weights"] != weights:
        raise ValueError(
            f"{path} was encoded with other weights than weights/vae_2d.safetensors holds; "
            "run `python tools/play_codes.py`, which needs MNIST"
        )
    return arrays["codes"], arrays["labels"], int(notes["limit"])


def round_columns(weight, inputs, damping=1e-3):
    r"""Whole numbers of 12 bits, and one scale for each column, so that products with ``inputs`` change little.

    weight: (O, I), float64; inputs: (N, I). Rounding each weight to the nearest would be seven times too coarse. Here,
    column by column, those still to be rounded move to make up for the error in the products, by least squares
    (Frantar et al. 2023, GPTQ, section 3). ``damping`` keeps them close: a few steps off at most.
    Returns (O, I) of int16 and (I,).
    """
    scale = np.maximum(np.abs(weight).max(0), 1e-12) / TOP
    gram = inputs.T @ inputs / len(inputs)
    gram += damping * gram.diagonal().mean() * np.eye(len(gram))
    order = np.argsort(-gram.diagonal() * scale**2)  # what matters most goes first
    factor = np.linalg.cholesky(np.linalg.inv(gram[np.ix_(order, order)]), upper=True)
    rest, rounded = weight[:, order], np.empty(weight.shape, np.int16)
    for i, column in enumerate(order):
        whole = (rest[:, i] / scale[column]).round().clip(-TOP, TOP)
        error = (rest[:, i] - whole * scale[column]) / factor[i, i]
        rest[:, i + 1 :] -= np.outer(error, factor[i, i + 1 :])
        rounded[:, column] = whole
    return rounded, scale


def pack_12(values):
    """Two whole numbers of 12 bits with sign in three bytes: an even number of values -> bytes."""
    low, high = (values.ravel().astype(np.int32) + 2048).reshape(-1, 2).T
    return np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], -1).astype(np.uint8).tobytes()


def text(data):
    """Base64 of bytes, or of an array as float32."""
    return base64.b64encode(data if isinstance(data, bytes) else data.astype("<f4").tobytes()).decode()


def points(axis):
    """All points of the plane whose two coordinates are on the axis, (N^2, 2)."""
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Decoder:
    """Two layers, with a ReLU between, of the stored VAE, in float64."""

    def __init__(self, arrays):
        layers = ((arrays[f"decoder.body.{i}.weight"], arrays[f"decoder.body.{i}.bias"]) for i in (0, 2))
        self.first, self.second = ((weight.astype(float), bias.astype(float)) for weight, bias in layers)

    def hidden(self, z):
        weight, bias = self.first
        return np.maximum(z @ weight.T + bias, 0)

    def probabilities(self, z):
        weight, bias = self.second
        return sigmoid(self.hidden(z) @ weight.T + bias)


def decoder_asset(decoder, limit):
    """Both layers, the large one rounded. Raises ValueError if a probability on the plane is off by TOLERANCE."""
    (weight_1, bias_1), (weight_2, bias_2) = decoder.first, decoder.second
    axis = np.linspace(-limit, limit, 41)
    rounded, scale = round_columns(weight_2, decoder.hidden(points(axis)))
    middles = points((axis[:-1] + axis[1:]) / 2)  # which the rounding has not seen
    approximate = sigmoid(decoder.hidden(middles) @ (rounded * scale).T + bias_2)
    error = np.abs(approximate - decoder.probabilities(middles)).max()
    if error > TOLERANCE:
        raise ValueError(f"a pixel's probability is off by {error:.1e}, expected at most {TOLERANCE}")
    return {
        "hidden": len(bias_1),
        "data_dim": len(bias_2),
        "weight_1": text(weight_1),
        "bias_1": text(bias_1),
        "weight_2": text(pack_12(rounded.T)),  # hidden unit by hidden unit: one that is off is skipped whole
        "scale_2": text(scale),
        "bias_2": text(bias_2),
    }


def codes_asset(codes, labels, limit):
    """z1, z2 and label in four bytes for each test digit, 12, 12 and 8 bits."""
    z1, z2 = codes.astype(np.int32).astype(np.uint32).T & 4095  # two's complement
    packed = z1 | z2 << 12 | labels.astype(np.uint32) << 24
    return {"limit": limit, "step": limit / TOP, "packed": text(packed.astype("<u4").tobytes())}


def banana_log_density(theta):
    """Log of the banana's posterior, (..., 2) -> (...), without what does not depend on theta."""
    theta_1, theta_2 = theta[..., 0], theta[..., 1]
    residual = BANANA["MEAN"] - theta_1 - theta_2**2
    return -0.5 * (BANANA["SIZE"] / 4 * residual**2 + theta_1**2 + theta_2**2)


def banana_asset():
    """The posterior's constants, and its exact mean by quadrature."""
    steps = round(GRID_LIMIT / GRID_SPACING)
    theta = points(GRID_SPACING * np.arange(-steps, steps + 1))
    density = np.exp(banana_log_density(theta))
    mean = density @ theta / density.sum()
    return BANANA | {"exact_mean": [round(m, 12) + 0.0 for m in mean.tolist()]}


def write_assets(folder, weights=WEIGHTS):
    arrays, _ = read(weights)
    codes, labels, limit = read_codes(digest(arrays))
    assets = {
        "decoder": decoder_asset(Decoder(arrays), limit),
        "codes": codes_asset(codes, labels, limit),
        "banana": banana_asset(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in assets.items():
        script = f"((window.dgm ??= {{}}).assets ??= {{}}).{name} = {json.dumps(value)};\n"
        (folder / f"{name}.js").write_text(script, encoding="utf8")


if __name__ == "__main__":
    try:
        write_assets(Path(sys.argv[1]))
    except (IndexError, OSError, ValueError) as error:
        sys.exit(f"play_assets: {error}")
