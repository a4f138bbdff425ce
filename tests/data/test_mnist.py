"""MNIST: read whole or refused with a reason; binarised as it says."""

import os
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision import datasets

from dgm_helpers.data.mnist import MD5, binarise, data_dir, fixed_binarisation, load_mnist, threshold

needs_mnist = pytest.mark.skipif(
    not all((data_dir() / "MNIST" / "raw" / name).is_file() for name in MD5), reason="MNIST is not on this machine"
)


def test_in_ci_the_real_mnist_is_there():
    if os.environ.get("CI"):
        assert all((data_dir() / "MNIST" / "raw" / name).is_file() for name in MD5), f"no MNIST in {data_dir()}"


@pytest.fixture
def copy(tmp_path):
    """A private folder with links to the real files, which a test may replace."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MD5:
        os.symlink((data_dir() / "MNIST" / "raw" / name).resolve(), raw / name)
    return tmp_path


def no_network(*arguments, **options):
    raise URLError("no network")


@needs_mnist
def test_it_is_the_real_mnist():
    mnist = load_mnist()
    assert mnist.train_images.shape == (60000, 784)
    assert mnist.test_images.shape == (10000, 784)
    assert mnist.train_images.dtype == torch.float32
    assert mnist.train_images.min() == 0
    assert mnist.train_images.max() == 1
    assert float(mnist.train_images.mean()) == pytest.approx(0.1307, abs=1e-4)  # the constant of every MNIST tutorial
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@needs_mnist
@pytest.mark.parametrize("name", list(MD5))
def test_a_truncated_file_is_named(copy, name):
    path = copy / "MNIST" / "raw" / name
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=f"{name} is truncated or corrupt: expected md5 {MD5[name]}"):
        load_mnist(copy)


@needs_mnist
def test_one_wrong_byte_is_noticed(copy):
    path = copy / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    path.unlink()
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is truncated or corrupt"):
        load_mnist(copy)


def test_without_files_and_network_it_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MNIST", no_network)
    with pytest.raises(FileNotFoundError, match=r"no network.*DGM_DATA_DIR") as caught:
        load_mnist(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "MNIST" / "raw") in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_same_kind(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileNotFoundError, match="DGM_DATA_DIR"):
        load_mnist(tmp_path / "file")


def half_download(folder, download):
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    raise RuntimeError("connection lost")


def wrong_download(folder, download):
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MD5:
        (raw / name).write_bytes(b"something else")


@pytest.mark.parametrize(("download", "error"), [(half_download, FileNotFoundError), (wrong_download, ValueError)])
def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch, download, error):
    monkeypatch.setattr(datasets, "MNIST", download)
    with pytest.raises(error):
        load_mnist(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.glob(".download-*"))


@needs_mnist
def test_a_download_that_works_is_moved_into_place(tmp_path, monkeypatch):
    real = datasets.MNIST

    def download(folder, download=False, **options):
        if not download:
            return real(folder, download=False, **options)
        shutil.copytree(data_dir() / "MNIST" / "raw", Path(folder) / "MNIST" / "raw", dirs_exist_ok=True)

    monkeypatch.setattr(datasets, "MNIST", download)
    assert len(load_mnist(tmp_path).test_images) == 10000
    assert {path.name for path in (tmp_path / "MNIST" / "raw").iterdir()} == set(MD5)
    assert not list(tmp_path.glob(".download-*"))


def test_the_folder_is_the_variable_or_the_cache(monkeypatch):
    monkeypatch.setenv("DGM_DATA_DIR", "~/somewhere")
    assert data_dir() == Path.home() / "somewhere"
    monkeypatch.delenv("DGM_DATA_DIR")
    assert data_dir() == Path.home() / ".cache" / "dgm_helpers"


def test_binarised_pixels_are_bits_with_the_grey_value_as_their_mean():
    grey, n = torch.tensor([0.0, 0.2, 0.7, 1.0]), 50_000
    draws = binarise(grey.expand(n, 4), torch.Generator().manual_seed(0))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert draws[:, 0].max() == 0
    assert draws[:, 3].min() == 1
    assert ((draws.mean(0) - grey).abs() <= 4 * (grey * (1 - grey) / n).sqrt()).all()


def test_fresh_draws_differ_and_the_fixed_draw_does_not():
    grey = torch.full((10, 50), 0.5)
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(binarise(grey, generator), binarise(grey, generator))
    assert torch.equal(fixed_binarisation(grey), fixed_binarisation(grey))
    assert not torch.equal(fixed_binarisation(grey), fixed_binarisation(grey, seed=1))


def test_the_fixed_draw_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    fixed_binarisation(torch.full((4, 4), 0.5))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_threshold_is_strict_and_keeps_the_dtype():
    bits = threshold(torch.tensor([[0.0, 0.5, 0.51, 1.0]], dtype=torch.float64))
    assert bits.tolist() == [[0, 0, 1, 1]]
    assert bits.dtype == torch.float64
    assert threshold(torch.tensor([0.3]), 0.2).tolist() == [1]
