"""What is measured once: stored for one model, one set of bits and one set of settings, and for no other."""

import pytest
import torch
from torch import nn

from dgm_helpers.training.measuring import measured

BITS = torch.bernoulli(torch.full((5, 3), 0.5), generator=torch.Generator().manual_seed(0))


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, 1)


def of(name="m", model=None, x=BITS, value=1.0, **settings):
    """Two tensors from a measurement that also counts its calls."""
    calls = []

    def measure():
        calls.append(1)
        return {"a": torch.full((5,), value), "b": torch.tensor([value, 2.0])}

    return measured(name, model or linear(), x, {"a": 5, "b": 2}, measure, **settings), len(calls)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    return tmp_path


@pytest.mark.filterwarnings("ignore:training m afresh")
def test_the_second_time_it_is_loaded():
    first, calls = of(seed=1)
    again, calls_again = of(seed=1, value=3.0)
    assert (calls, calls_again) == (1, 0)
    for name in ("a", "b"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert again.b.tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:training m afresh")
@pytest.mark.parametrize("other", [dict(model=linear(1)), dict(x=1 - BITS), dict(seed=2), dict(grid=[1.0])])
def test_of_anything_else_it_is_measured_again(other, monkeypatch):
    of(seed=1)
    assert of(**{"seed": 1} | other)[1] == 1
    monkeypatch.setenv("DGM_RETRAIN", "never")
    with pytest.raises(RuntimeError, match="does not hold this run"):
        of(seed=1)


@pytest.mark.filterwarnings("ignore:training m afresh")
def test_always_measures_again(monkeypatch):
    of()
    monkeypatch.setenv("DGM_RETRAIN", "always")
    assert of(value=3.0)[0].b.tolist() == [3.0, 2.0]


def test_a_shape_that_does_not_fit_is_an_error_and_nothing_is_stored(store):
    with pytest.warns(UserWarning, match="afresh"), pytest.raises(RuntimeError):
        measured("m", linear(), BITS, {"a": 4}, lambda: {"a": torch.zeros(5)})
    assert not list(store.iterdir())


def test_grey_values_are_refused():
    with pytest.raises(ValueError, match=r"expected bits, got values from 0 to 0\.5"):
        of(x=BITS / 2)
