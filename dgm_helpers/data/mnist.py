"""The real MNIST in memory, and its binarisations."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

MD5 = {  # of the four raw files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class MNIST(NamedTuple):
    """Grey values in [0, 1], float32, one row of 784 pixels for each image; labels are int64."""

    train_images: torch.Tensor  # (60000, 784)
    train_labels: torch.Tensor  # (60000,)
    test_images: torch.Tensor  # (10000, 784)
    test_labels: torch.Tensor  # (10000,)


def data_dir():
    """DGM_DATA_DIR if set, else a folder in the user's cache."""
    return Path(os.environ.get("DGM_DATA_DIR") or Path.home() / ".cache" / "dgm_helpers").expanduser()


def _verify(raw):
    """Raise ValueError naming the first file in ``raw`` whose content is not MNIST's."""
    for name, md5 in MD5.items():
        content = (raw / name).read_bytes()
        came = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if came != md5:
            raise ValueError(
                f"{raw / name} is truncated or corrupt: expected md5 {md5}, got {came} ({len(content)} bytes). "
                "Delete it and load again, or point DGM_DATA_DIR at a folder with good files."
            )


def _download(root):
    """Let torchvision fetch MNIST into a temporary folder; move it to ``root`` only when it is whole."""
    from torchvision import datasets  # here: it takes seconds to import

    raw = root / "MNIST" / "raw"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            datasets.MNIST(folder, download=True)
            fetched = Path(folder) / "MNIST" / "raw"
            _verify(fetched)
            for name in MD5:
                shutil.move(fetched / name, raw / name)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"MNIST is not in {raw} and could not be downloaded there ({type(error).__name__}: {error}). "
            "Connect to the network once, or set the variable DGM_DATA_DIR to the folder that holds MNIST/raw with "
            + ", ".join(MD5)
        ) from error


def load_mnist(root=None, *, device=None):
    """MNIST from ``root`` (default: ``data_dir()``), downloaded by torchvision if the files are missing.

    Returns MNIST, on ``device``. Raises FileNotFoundError, which says where it looked, if the files are missing and
    cannot be downloaded; ValueError, which names the file, if one is corrupt (its md5 is checked). LeCun et al. (1998).
    """
    from torchvision import datasets

    root = Path(root) if root is not None else data_dir()
    raw = root / "MNIST" / "raw"
    if not all((raw / name).is_file() for name in MD5):
        _download(root)
    _verify(raw)
    parts = []
    for train in (True, False):
        split = datasets.MNIST(root, train=train, download=False)
        grey = split.data.flatten(1).float() / 255  # divided here: a GPU rounds otherwise, and digests would differ
        parts += [grey.to(device), split.targets.to(device)]
    return MNIST(*parts)


def binarise(images, generator=None):
    """Draw every pixel afresh: 1 with probability its grey value (Salakhutdinov and Murray 2008). Same shape."""
    return torch.bernoulli(images, generator=generator)


def fixed_binarisation(images, seed=0):
    """One draw of ``binarise`` that is the same on every machine: drawn on the CPU from its own seed."""
    return torch.bernoulli(images.cpu(), generator=torch.Generator().manual_seed(seed)).to(images.device)


def threshold(images, level=0.5):
    """Bits of one kind for each image: 1 where the grey value exceeds the level. Same shape and dtype."""
    return (images > level).to(images.dtype)
