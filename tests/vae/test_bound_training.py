"""Training by a bound and measuring bounds in parts: against the same thing written out whole."""

import pytest
import torch
from torch import nn

from dgm_helpers.data.mnist import binarise
from dgm_helpers.probability.densities import log_mean_exp
from dgm_helpers.training.fit import fit
from dgm_helpers.vae import bound_training
from dgm_helpers.vae.bound_training import (
    bounds_in_parts,
    curve_evaluation,
    log_weights_in_parts,
    measured_bounds,
    pixel_log_odds,
    train_by_bound,
)
from dgm_helpers.vae.model import VAE, MLPDecoder, MLPEncoder
from dgm_helpers.vae.multisample import doubly_reparameterised_bound


def new_model(seed=0):
    torch.manual_seed(seed)
    return VAE(MLPEncoder(6, [5], 2, activation=nn.Tanh), MLPDecoder(2, [5], 6, activation=nn.Tanh), 2)


def images(n=7):
    return torch.bernoulli(torch.full((n, 6), 0.4), generator=torch.Generator().manual_seed(1))


class Counting(nn.Module):
    """log w of image x and the i-th draw that was asked for of it: x's first pixel plus i / 100."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls, self.seen, self.largest = 0, {}, 0

    def log_weights(self, x, num_samples, *, generator=None):
        self.calls += 1
        self.largest = max(self.largest, num_samples * len(x))
        rows = []
        for value in x[:, 0].tolist():
            first = self.seen.get(value, 0)
            self.seen[value] = first + num_samples
            rows.append(value + torch.arange(first, first + num_samples) / 100)
        return torch.stack(rows, 1)


@pytest.mark.parametrize("num_samples", [1, 4, 10, 30])
def test_parts_are_put_together_in_order_and_none_is_too_large(monkeypatch, num_samples):
    monkeypatch.setattr(bound_training, "AT_ONCE", {"cpu": 10})
    x = torch.arange(7.0).unsqueeze(1) * 10
    model = Counting()
    log_w = log_weights_in_parts(model, x, num_samples, generator=None)
    torch.testing.assert_close(log_w, x.T + torch.arange(num_samples).unsqueeze(1) / 100)
    assert model.largest <= 10
    assert model.calls > 1 - (num_samples == 1)
    with pytest.raises(ValueError, match="up to 10 or a multiple of it, got 15"):
        log_weights_in_parts(model, x, 15, generator=None)


def test_bounds_are_those_of_groups_of_the_same_draws(monkeypatch):
    monkeypatch.setattr(bound_training, "AT_ONCE", {"cpu": 24})
    x = torch.arange(7.0).unsqueeze(1) * 10
    bounds = bounds_in_parts(Counting(), x, [1, 3, 12], generator=None)
    log_w = x.T + torch.arange(12).unsqueeze(1) / 100
    for column, k in enumerate([1, 3, 12]):
        torch.testing.assert_close(bounds[:, column], log_mean_exp(log_w.view(12 // k, k, 7), 1).mean(0))
    assert (bounds.diff(dim=1) > 0).all()
    for counts in ([3, 1, 12], [1, 5, 12]):
        with pytest.raises(ValueError, match="rising counts that divide the last one"):
            bounds_in_parts(Counting(), x, counts, generator=None)


def test_training_is_fit_on_pixels_drawn_afresh():
    grey = torch.rand(40, 6, generator=torch.Generator().manual_seed(2))

    def loss(model, grey, generator):
        return -doubly_reparameterised_bound(model, binarise(grey, generator), 3, generator=generator).mean()

    options = dict(epochs=3, batch_size=16, lr=1e-2, progress=False)
    model, other = new_model(), new_model()
    history = train_by_bound(model, doubly_reparameterised_bound, grey, 3, seed=5, **options)
    expected = fit(other, loss, grey, generator=torch.Generator().manual_seed(5), **options)
    assert history.loss == expected.loss
    assert train_by_bound(new_model(), doubly_reparameterised_bound, grey, 3, seed=6, **options).loss != history.loss


def test_the_precision_of_matrix_products_is_put_back_whatever_happens():
    during = []

    def bound(model, x, num_samples, *, generator):
        during.append(torch.get_float32_matmul_precision())
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train_by_bound(new_model(), bound, images().float(), 1, seed=0, epochs=1, batch_size=4, progress=False)
    assert during == ["high"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_curve_uses_the_same_draws_at_every_call():
    model, sets = new_model(), {"train": images(), "test": 1 - images()}
    evaluate = curve_evaluation(sets, 8)
    record = evaluate(model)
    assert record == evaluate(model)
    assert set(record) == {"train_elbo", "train_nll", "test_elbo", "test_nll"}
    generator = torch.Generator().manual_seed(0)
    for name, x in sets.items():
        with torch.no_grad():
            log_w = model.log_weights(x, 8, generator=generator)
        assert record[f"{name}_elbo"] == pytest.approx(float(log_w.mean()))
        assert record[f"{name}_nll"] == pytest.approx(-float(log_mean_exp(log_w, 0).mean()))


def test_the_log_odds_are_those_of_the_clipped_mean_image():
    grey = torch.tensor([[0.0, 1.0, 0.2], [0.0, 1.0, 0.6]])
    torch.testing.assert_close(torch.sigmoid(pixel_log_odds(grey)), torch.tensor([0.001, 0.999, 0.4]))


def test_measured_values_are_stored_for_this_model_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    model, x, counts = new_model(), images(), [1, 2, 10]
    with pytest.warns(UserWarning, match="afresh"):
        values = measured_bounds("m", model, x, counts, seed=3)
    expected = bounds_in_parts(model, x, counts, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(values.log_p, expected[:, -1])
    torch.testing.assert_close(values.mean, expected.mean(0))
    monkeypatch.setenv("DGM_RETRAIN", "never")
    torch.testing.assert_close(measured_bounds("m", model, x, counts, seed=3).log_p, values.log_p)
    for other in (dict(model=new_model(1)), dict(x=1 - x), dict(seed=4), dict(counts=[1, 5, 10])):
        arguments = {"model": model, "x": x, "counts": counts, "seed": 3, **other}
        with pytest.raises(RuntimeError, match="does not hold this run"):
            measured_bounds("m", **arguments)
