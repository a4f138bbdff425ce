"""The four files of MNIST, and of the data sets in its form: found, verified, or downloaded whole."""

import gzip
import hashlib
import http.client
import os
import struct
import sys
import tempfile
import urllib.request
import zlib
from typing import NamedTuple

import torch

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Source(NamedTuple):
    """A data set: its folder, where it is published, and the md5 of its files, as published (.gz) and unpacked."""

    folder: str
    mirrors: tuple
    packed: tuple
    unpacked: tuple = (None,) * 4


SOURCES = {
    "mnist": Source(
        "MNIST", ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
         "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
         "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ),
    "fashion": Source(
        "FashionMNIST", ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
         "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    "kmnist": Source(
        "KMNIST", ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        ("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344",
         "5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
    ),
}  # fmt: skip


def raw_folder(source, root):
    """The folder of the files: ``root/MNIST/raw`` say, or root itself if it is named so far down already."""
    levels = (source.folder, "raw")
    above = next((n for n in (2, 1) if root.parts[-n:] == levels[:n]), 0)
    return root.joinpath(*levels[above:])


def find(source, raw):
    """{name: path} of the files that are there: unpacked, if their md5 is known, or as published."""
    found = {}
    for name, md5 in zip(NAMES, source.unpacked, strict=True):
        for path in ([raw / name] if md5 else []) + [raw / f"{name}.gz"]:
            if path.is_file():
                found.setdefault(name, path)
    return found


def unpack(source, name, content, *, packed):
    """A file's content, unpacked. Raises ValueError if it is not that of the data set."""
    k = NAMES.index(name)
    came, right = hashlib.md5(content, usedforsecurity=False).hexdigest(), source.unpacked[k]
    if packed:
        published = came == source.packed[k]
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise ValueError(f"expected md5 {source.packed[k]}, got {came} ({len(content)} bytes)") from None
        if published:
            return content
        came, right = hashlib.md5(content, usedforsecurity=False).hexdigest(), right or source.packed[k]
    if came != right:
        raise ValueError(f"expected md5 {right}, got {came} ({len(content)} bytes)")
    return content


def read(source, name, path):
    """The numbers of a file, uint8, in the shape that its header tells. Raises ValueError if its md5 is wrong."""
    try:
        content = unpack(source, name, path.read_bytes(), packed=path.suffix == ".gz")
    except ValueError as error:
        raise ValueError(
            f"{path} is truncated or corrupt: {error}. "
            "Delete it and load again, or point DGM_DATA_DIR at a folder with good files."
        ) from None
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * axes).reshape(shape)


def fetch(source, name):
    """A file as it is published, from the first mirror that gives it whole. Raises OSError with what each one said."""
    said = []
    for mirror in source.mirrors:
        try:
            with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=30) as answer:
                content = answer.read()
            unpack(source, name, content, packed=True)
            return content
        except (OSError, http.client.HTTPException, ValueError) as error:
            said.append(f"{mirror}{name}.gz: {type(error).__name__}: {error}")
    raise OSError("; ".join(said))


def download(source, raw, missing):
    """Fetch the files; write them only when all are here, each whole or not at all. Raises FileNotFoundError."""
    print(f"Downloading {source.folder} to {raw} ...", file=sys.stderr, flush=True)
    try:
        contents = {name: fetch(source, name) for name in missing}
        raw.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with tempfile.NamedTemporaryFile(dir=raw, prefix=".", suffix=".partial", delete=False) as partial:
                try:
                    partial.write(content)
                    partial.close()
                    os.replace(partial.name, raw / f"{name}.gz")
                finally:
                    if os.path.exists(partial.name):
                        os.unlink(partial.name)
    except OSError as error:
        raise FileNotFoundError(
            f"{source.folder} is not in {raw} and could not be downloaded there ({type(error).__name__}: {error}). "
            "Connect to the network once, or set the variable DGM_DATA_DIR to the folder that holds "
            f"{source.folder}/raw with {', '.join(NAMES)}, or these with .gz at the end."
        ) from error
