"""The real MNIST in memory, data sets in its form, and their binarisations."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from dgm_helpers.data.files import NAMES, SOURCES, download, find, raw_folder, read


class MNIST(NamedTuple):
    """Grey values in [0, 1], float32, one row of 784 pixels for each image; labels are int64."""

    train_images: torch.Tensor  # (60000, 784)
    train_labels: torch.Tensor  # (60000,)
    test_images: torch.Tensor  # (10000, 784)
    test_labels: torch.Tensor  # (10000,)


def data_dir():
    """DGM_DATA_DIR if set, else a folder in the user's cache."""
    return Path(os.environ.get("DGM_DATA_DIR") or Path.home() / ".cache" / "dgm_helpers").expanduser()


def load_mnist(root=None, *, name="mnist", device=None):
    """MNIST from ``root`` (default: ``data_dir()``), downloaded if the files are missing. LeCun et al. (1998).

    name: "mnist", or what has its form: "fashion" (Xiao et al. 2017) or "kmnist" (Clanuwat et al. 2018). Returns MNIST,
    on ``device``. Raises FileNotFoundError, which says where it looked, if the files are missing and cannot be
    downloaded; ValueError, which names the file, if one is corrupt: every load checks the md5 of what it reads.
    """
    if name not in SOURCES:
        raise ValueError(f"expected name to be one of {', '.join(map(repr, SOURCES))}, got {name!r}")
    source = SOURCES[name]
    raw = raw_folder(source, Path(root).expanduser() if root is not None else data_dir())
    if missing := [file for file in NAMES if file not in find(source, raw)]:
        download(source, raw, missing)
    found, parts = find(source, raw), []
    for file in NAMES:
        numbers = read(source, file, found[file])
        # divided here: a GPU rounds otherwise, and digests would differ
        parts.append((numbers.flatten(1).float().div_(255) if numbers.dim() > 1 else numbers.long()).to(device))
    return MNIST(*parts)


def grey_values(images):
    """Grey values in [0, 1]: those given, or uint8 divided by 255, as float32. Same shape.

    Raises TypeError for other numbers than floats and uint8; ValueError for what is not grey: uint8 that are bits.
    """
    if not isinstance(images, torch.Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
        came = f"a tensor of {images.dtype}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise TypeError(f"expected a tensor of grey values, float in [0, 1] or uint8 from 0 to 255, got {came}")
    if images.is_floating_point():
        return images
    if images.numel() and images.max() == 1:
        raise ValueError("expected uint8 grey values from 0 to 255, got bits; bits.float() needs no binarisation")
    return images.float() / 255


def binarise(images, generator=None):
    """Draw every pixel afresh: 1 with probability its grey value (Salakhutdinov and Murray 2008). Same shape.

    images: floats in [0, 1], or uint8 from 0 to 255, which gives float32. Raises as ``grey_values``, and ValueError.
    """
    grey = grey_values(images)
    try:
        return torch.bernoulli(grey, generator=generator)
    except RuntimeError:
        if grey.device.type == "cpu" and not ((grey >= 0) & (grey <= 1)).all():
            least, most = float(grey.min()), float(grey.max())
            raise ValueError(f"expected grey values in [0, 1], got values from {least:g} to {most:g}") from None
        raise


def fixed_binarisation(images, seed=0):
    """One draw of ``binarise`` that is the same on every machine: drawn on the CPU from its own seed."""
    return binarise(images.cpu(), torch.Generator().manual_seed(seed)).to(images.device)


def threshold(images, level=0.5):
    """Bits of one kind for each image: 1 where the grey value exceeds the level. Same shape; uint8 gives float32."""
    grey = grey_values(images)
    if not ((grey >= 0) & (grey <= 1)).all():
        raise ValueError(
            f"expected grey values in [0, 1], got values from {float(grey.min()):g} to {float(grey.max()):g}"
        )
    return (grey > level).to(grey.dtype)
