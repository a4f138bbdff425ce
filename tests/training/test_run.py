"""Stored weights: loaded when they are this run's, refused with a reason when they are not."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dgm_helpers.training import run as weights
from dgm_helpers.training.fit import History
from dgm_helpers.training.run import digest, fit_or_load, fit_or_load_half, read_weights

RUN = {"lr": 0.1, "seed": 0, "layers": (1, 2)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.delenv("DGM_RETRAIN", raising=False)
    return tmp_path


def trained(model, value=2.0, interrupted=False):
    def train():
        nn.init.constant_(model.weight, value)
        return History(loss=[3.0, 1.0], records=[{"epoch": 1, "elbo": -1.5}], seconds=7.0, interrupted=interrupted)

    return train


def never(model):
    def train():
        raise AssertionError("it should have loaded")

    return train


@pytest.fixture
def stored():
    with pytest.warns(UserWarning, match="training toy afresh: there is no such file"):
        fit_or_load("toy", model := nn.Linear(2, 3), trained(model), RUN)
    return model


def test_the_second_call_loads_what_the_first_stored(stored):
    model = nn.Linear(2, 3)
    history = fit_or_load("toy", model, never(model), RUN)
    assert torch.equal(model.weight, stored.weight)
    assert torch.equal(model.bias, stored.bias)
    assert history == History(loss=[3.0, 1.0], records=[{"epoch": 1, "elbo": -1.5}], seconds=7.0)


def test_a_stale_fingerprint_trains_afresh_and_says_what_differs(stored):
    model = nn.Linear(2, 3)
    with pytest.warns(UserWarning, match=r"afresh: lr: stored 0.1, this run 0.2"):
        fit_or_load("toy", model, trained(model, 5.0), RUN | {"lr": 0.2})
    again = nn.Linear(2, 3)
    fit_or_load("toy", again, never(again), RUN | {"lr": 0.2})
    assert (again.weight == 5).all()


def test_in_tests_a_stale_or_missing_file_is_an_error(stored, monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "never")
    model = nn.Linear(2, 3)
    fit_or_load("toy", model, never(model), RUN)
    with pytest.raises(RuntimeError, match=r"seed: stored 0, this run 1.*make execute"):
        fit_or_load("toy", model, never(model), RUN | {"seed": 1})
    with pytest.raises(RuntimeError, match="there is no such file"):
        fit_or_load("other", model, never(model), RUN)


def test_retraining_ignores_a_file_that_fits(stored, monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "always")
    fit_or_load("toy", model := nn.Linear(2, 3), trained(model, 9.0), RUN)
    monkeypatch.setenv("DGM_RETRAIN", "never")
    fit_or_load("toy", again := nn.Linear(2, 3), never(again), RUN)
    assert (again.weight == 9).all()


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "maybe")
    with pytest.raises(ValueError, match=r"expected DGM_RETRAIN to be one of .* got 'maybe'"):
        fit_or_load("toy", nn.Linear(1, 1), never(None), RUN)


def test_the_architecture_is_part_of_the_fingerprint(stored, monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "never")
    with pytest.raises(RuntimeError, match=r"model: stored 'Linear\(in_features=2.*in_features=4"):
        fit_or_load("toy", nn.Linear(4, 3), never(None), RUN)


def test_an_interrupted_run_is_not_stored(folder):
    with pytest.warns(UserWarning, match="afresh"):
        history = fit_or_load("toy", model := nn.Linear(2, 3), trained(model, interrupted=True), RUN)
    assert history.interrupted
    assert not list(folder.iterdir())


def damage(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no notes":
        save_file(load_file(path), path)
    else:
        tensors, notes = read_weights(path)
        if how == "nan":
            tensors["bias"][1] = float("nan")
        else:
            tensors["weight"] = tensors["weight"][:1].contiguous()
        save_file(tensors, path, metadata={key: json.dumps(value) for key, value in notes.items()})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "is damaged"),
        ("empty", "is damaged"),
        ("no notes", "is damaged"),
        ("nan", "not finite, in bias"),
        ("another shape", r"of another model: expected .*\(3, 2\).*got .*\(1, 2\)"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_half_loaded(stored, folder, how, message):
    path = folder / "toy.safetensors"
    damage(path, how)
    model = nn.Linear(2, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        fit_or_load("toy", model, never(model), RUN)
    assert str(path) in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_half_written_file_is_left(stored, folder, monkeypatch):
    def broken(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(weights, "save_file", broken)
    whole = (folder / "toy.safetensors").read_bytes()
    with pytest.warns(UserWarning, match="afresh"), pytest.raises(OSError, match="disk full"):
        fit_or_load("toy", model := nn.Linear(2, 3), trained(model), RUN | {"seed": 2})
    assert (folder / "toy.safetensors").read_bytes() == whole
    assert [path.name for path in folder.iterdir()] == ["toy.safetensors"]


def test_digest_tells_data_apart():
    a = torch.arange(6.0)
    assert digest(a) == digest(a.clone())
    assert digest(a) != digest(a.flip(0))


def test_half_precision_stores_half_and_leaves_the_model_with_what_is_stored(folder):
    third = 1 / 3
    model = nn.Linear(2, 3)
    with pytest.warns(UserWarning, match="training toy afresh"):
        history = fit_or_load_half("toy", model, trained(model, third), RUN)
    stored = load_file(folder / "toy.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, stored["weight"].float())
    assert (model.weight == torch.tensor(third).half()).all()  # what training left, rounded
    assert (model.weight != torch.tensor(third)).all()
    assert not any(p.requires_grad for p in model.parameters())
    again = nn.Linear(2, 3)
    assert fit_or_load_half("toy", again, never(again), RUN) == history
    assert torch.equal(again.weight, model.weight)
    assert torch.equal(again.bias, model.bias)
