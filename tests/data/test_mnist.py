"""MNIST: read whole or refused with a reason; binarised as it says."""

import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from dgm_helpers.data.files import NAMES, SOURCES
from dgm_helpers.data.mnist import binarise, data_dir, fixed_binarisation, grey_values, load_mnist, threshold

REAL = data_dir() / "MNIST" / "raw"
MD5 = dict(zip(NAMES, SOURCES["mnist"].unpacked, strict=True))
needs_mnist = pytest.mark.skipif(not all((REAL / n).is_file() for n in NAMES), reason="MNIST is not unpacked here")


def test_in_ci_the_real_mnist_is_there():
    if os.environ.get("CI"):
        assert all((REAL / n).is_file() or (REAL / f"{n}.gz").is_file() for n in NAMES), f"no MNIST in {data_dir()}"


@pytest.fixture
def copy(tmp_path):
    """A private folder with links to the real files, which a test may replace."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        os.symlink((REAL / name).resolve(), raw / name)
    return tmp_path


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@needs_mnist
def test_it_is_the_real_mnist():
    mnist = load_mnist()
    assert mnist.train_images.shape == (60000, 784)
    assert mnist.test_images.shape == (10000, 784)
    assert mnist.train_images.dtype == torch.float32
    assert mnist.train_labels.dtype == torch.int64
    assert mnist.train_images.min() == 0
    assert mnist.train_images.max() == 1
    assert float(mnist.train_images.mean()) == pytest.approx(0.1307, abs=1e-4)  # the constant of every MNIST tutorial
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@needs_mnist
def test_it_is_what_torchvision_reads():
    datasets = pytest.importorskip("torchvision.datasets")
    theirs, ours = datasets.MNIST(data_dir(), train=False), load_mnist()
    assert torch.equal(ours.test_images, theirs.data.flatten(1).float() / 255)
    assert torch.equal(ours.test_labels, theirs.targets)


def test_torchvision_is_not_imported():
    code = "import sys, dgm_helpers.data, dgm_helpers.vae; assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_mnist
@pytest.mark.parametrize("name", NAMES)
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


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The real files with .gz at the end."""
    folder = tmp_path_factory.mktemp("packed")
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((REAL / name).read_bytes(), 1))
    return folder


@needs_mnist
def test_packed_files_are_read_as_they_are(tmp_path, packed):
    (tmp_path / "MNIST").mkdir()
    os.symlink(packed, tmp_path / "MNIST" / "raw")
    mnist, expected = load_mnist(tmp_path), load_mnist()
    assert all(torch.equal(a, b) for a, b in zip(mnist, expected, strict=True))
    assert {path.suffix for path in packed.iterdir()} == {".gz"}


@needs_mnist
@pytest.mark.parametrize("length", [0, 5000, -1])
def test_half_a_packed_file_is_named(copy, packed, length):
    path = copy / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes((packed / f"{path.name}.gz").read_bytes()[:length])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is truncated or corrupt: expected md5"):
        load_mnist(copy)


@needs_mnist
@pytest.mark.parametrize("below", ["MNIST", "MNIST/raw"])
def test_a_folder_too_deep_is_understood(copy, below):
    assert len(load_mnist(copy / below).test_images) == 10000
    assert files(copy) == sorted(f"MNIST/raw/{name}" for name in NAMES)


@needs_mnist
def test_an_old_cache_beside_the_files_is_not_read(copy):
    processed = copy / "MNIST" / "processed"
    processed.mkdir()
    for split in ("training.pt", "test.pt"):
        torch.save((torch.zeros(10, 28, 28, dtype=torch.uint8), torch.zeros(10)), processed / split)
    mnist = load_mnist(copy)
    assert len(mnist.train_images) == 60000
    assert float(mnist.train_images.mean()) == pytest.approx(0.1307, abs=1e-4)


# ---- downloads, from a server on this machine ----


class Server:
    """Gives the files of a folder; ``cut``: breaks off in the middle of this one; ``wrong``: gives others for it."""

    def __init__(self, folder, cut=None, wrong=None):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                asked.append(name)
                content = (folder / name).read_bytes() if name != wrong else b"<html>sold</html>"
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name == cut else content)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch, packed):
    """``mirrors({...}, ...)``: each a server with these faults; MNIST is then fetched from them."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def mirrors(*faults):
        servers.extend(Server(packed, **fault) for fault in faults)
        addresses = tuple(server.address for server in servers)
        monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(mirrors=addresses))
        return servers

    yield mirrors
    for server in servers:
        server.close()


WHOLE = [f"MNIST/raw/{name}.gz" for name in sorted(NAMES)]
CUT, WRONG = {"cut": "t10k-images-idx3-ubyte.gz"}, {"wrong": "train-labels-idx1-ubyte.gz"}


@needs_mnist
def test_a_download_is_stored_and_read_the_next_time(tmp_path, mirrors, capsys):
    (server,) = mirrors({})
    mnist = load_mnist(tmp_path)
    assert torch.equal(mnist.train_images, load_mnist().train_images)
    assert files(tmp_path) == WHOLE
    assert "Downloading MNIST to" in capsys.readouterr().err
    load_mnist(tmp_path)
    assert len(server.asked) == 4
    assert capsys.readouterr().err == ""


@needs_mnist
@pytest.mark.parametrize(("fault", "reason"), [(CUT, "IncompleteRead"), (WRONG, "expected md5")])
def test_a_failed_download_leaves_nothing_behind(tmp_path, mirrors, fault, reason):
    (server,) = mirrors(fault)
    with pytest.raises(FileNotFoundError, match=rf"could not be downloaded.*{reason}.*DGM_DATA_DIR"):
        load_mnist(tmp_path / "data")
    assert server.asked
    assert list(tmp_path.iterdir()) == []


@needs_mnist
@pytest.mark.parametrize("fault", [CUT, WRONG])
def test_the_second_mirror_helps_out(tmp_path, mirrors, fault):
    mirrors(fault, {})
    assert len(load_mnist(tmp_path).test_images) == 10000
    assert files(tmp_path) == WHOLE


@needs_mnist
def test_only_what_is_missing_is_fetched(copy, mirrors):
    (server,) = mirrors({})
    (copy / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    load_mnist(copy)
    assert server.asked == ["t10k-labels-idx1-ubyte.gz"]


@needs_mnist
def test_a_write_that_fails_leaves_no_half_file(tmp_path, mirrors, monkeypatch):
    mirrors({})

    def full(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileNotFoundError, match=r"disk full.*DGM_DATA_DIR"):
        load_mnist(tmp_path)
    assert files(tmp_path) == []


@needs_mnist
def test_a_folder_that_cannot_be_written_is_an_error_of_the_same_kind(tmp_path, mirrors):
    mirrors({})
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileNotFoundError, match="DGM_DATA_DIR"):
        load_mnist(tmp_path / "file")
    if Path("/proc/self").is_dir():  # where nobody can write
        with pytest.raises(FileNotFoundError, match="DGM_DATA_DIR"):
            load_mnist("/proc/data")


@needs_mnist
def test_two_processes_at_once(tmp_path, mirrors):
    (server,) = mirrors({})
    code = (
        "import sys; from dgm_helpers.data import files, load_mnist\n"
        "files.SOURCES['mnist'] = files.SOURCES['mnist']._replace(mirrors=(sys.argv[1],))\n"
        "print(len(load_mnist(sys.argv[2]).test_images))"
    )
    command = [sys.executable, "-c", code, server.address, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["10000"] * 2
    assert files(tmp_path) == WHOLE


def test_without_files_and_network_it_says_where_it_looked(tmp_path, monkeypatch):
    nobody = SOURCES["mnist"]._replace(mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(SOURCES, "mnist", nobody)
    with pytest.raises(FileNotFoundError, match=r"refused.*DGM_DATA_DIR") as caught:
        load_mnist(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "MNIST" / "raw") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# ---- data sets in MNIST's form ----


def idx(numbers):
    """A tensor as a file of this form."""
    head = bytes([0, 0, 8, numbers.dim()]) + b"".join(n.to_bytes(4, "big") for n in numbers.shape)
    return head + bytes(numbers.flatten().tolist())


@pytest.mark.parametrize(("name", "folder"), [("fashion", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_other_data_sets_of_this_form(tmp_path, monkeypatch, name, folder):
    import hashlib

    raw, sums = tmp_path / folder / "raw", []
    raw.mkdir(parents=True)
    for k, file in enumerate(NAMES):
        numbers = torch.arange(3) if "labels" in file else torch.full((3, 28, 28), 51 * k)
        content = gzip.compress(idx(numbers.to(torch.uint8)))
        (raw / f"{file}.gz").write_bytes(content)
        sums.append(hashlib.md5(content, usedforsecurity=False).hexdigest())
    with pytest.raises(
        ValueError, match=rf"{folder}.raw.train-images.*corrupt: expected md5 {SOURCES[name].packed[0]}"
    ):
        load_mnist(tmp_path, name=name)
    monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(packed=tuple(sums)))
    data = load_mnist(tmp_path, name=name)
    assert data.test_images.shape == (3, 784)
    assert float(data.test_images.mean()) == pytest.approx(102 / 255)
    assert data.train_labels.tolist() == [0, 1, 2]


def test_the_md5s_are_those_of_torchvision():
    datasets = pytest.importorskip("torchvision.datasets")
    for ours, theirs in (("mnist", "MNIST"), ("fashion", "FashionMNIST"), ("kmnist", "KMNIST")):
        assert SOURCES[ours].folder == theirs
        assert {name: md5 for (name, md5) in getattr(datasets, theirs).resources} == {
            f"{name}.gz": md5 for name, md5 in zip(NAMES, SOURCES[ours].packed, strict=True)
        }


def test_an_unknown_data_set_is_named():
    with pytest.raises(ValueError, match="expected name to be one of 'mnist', 'fashion', 'kmnist', got 'cifar'"):
        load_mnist(name="cifar")


def test_the_folder_is_the_variable_or_the_cache(monkeypatch):
    monkeypatch.setenv("DGM_DATA_DIR", "~/somewhere")
    assert data_dir() == Path.home() / "somewhere"
    monkeypatch.delenv("DGM_DATA_DIR")
    assert data_dir() == Path.home() / ".cache" / "dgm_helpers"


# ---- binarisations ----


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


@pytest.mark.parametrize("function", [binarise, fixed_binarisation, threshold])
def test_bytes_are_grey_values_too(function):
    images = torch.randint(0, 256, (20, 784), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def bits(images):
        return function(images, torch.Generator().manual_seed(1)) if function is binarise else function(images)

    assert torch.equal(bits(images), bits(images.float() / 255))
    assert torch.equal(grey_values(images), images.float() / 255)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (torch.arange(4.0), ValueError, r"expected grey values in \[0, 1\], got values from 0 to 3"),
        (torch.tensor([0.5, float("nan")]), ValueError, r"got values from nan to nan"),
        (torch.tensor([-0.1]), ValueError, "got values from -0.1"),
        (torch.tensor([0, 1, 1], dtype=torch.uint8), ValueError, "expected uint8 grey values .* got bits"),
        (torch.tensor([0, 255]), TypeError, "got a tensor of torch.int64"),
        (torch.tensor([True]), TypeError, "got a tensor of torch.bool"),
        ([0.5], TypeError, "got list"),
    ],
)
@pytest.mark.parametrize("function", [binarise, threshold])
def test_what_is_not_grey_is_refused(function, images, error, words):
    with pytest.raises(error, match=words):
        function(images)
