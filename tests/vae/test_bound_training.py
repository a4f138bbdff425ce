"""Training by a bound and measuring bounds in parts: against the same thing written out whole."""

import pytest
import torch
from torch import nn

from dgm_helpers.data.mnist import MNIST, binarise, fixed_binarisation
from dgm_helpers.probability.densities import log_mean_exp
from dgm_helpers.training.fit import adam
from dgm_helpers.training.soap import SOAP
from dgm_helpers.vae import bound_training
from dgm_helpers.vae.bound_training import (
    bounds_in_parts,
    first_losses,
    log_p_of_seeds,
    log_weights_in_parts,
    mean_gain,
    measured_bounds,
    measured_first_epoch,
    pixel_log_odds,
)
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.multisample import doubly_reparameterised_bound, path_derivative_elbo
from dgm_helpers.vae.runs import iwae_run, iwae_runs
from dgm_helpers.vae.two_layers import TwoLayerVAE

BOUNDS = {"VAE": path_derivative_elbo, "IWAE": doubly_reparameterised_bound}


def new_model(seed=0):
    torch.manual_seed(seed)
    return VAE.mlp(6, [5], 2, activation=nn.Tanh)


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


def test_the_log_odds_are_those_of_the_clipped_mean_image():
    grey = torch.tensor([[0.0, 1.0, 0.2], [0.0, 1.0, 0.6]])
    torch.testing.assert_close(torch.sigmoid(pixel_log_odds(grey)), torch.tensor([0.001, 0.999, 0.4]))


def test_the_gain_is_that_of_the_seeds_means_and_its_error_holds_images_and_seeds():
    one, other = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[0.0, 1.0]])
    gain, error = mean_gain(one, other, 0.5)  # of the images: 2 and 4
    assert gain == pytest.approx(3.0)
    assert error == pytest.approx((2 / 2 + 0.25 * (1 / 2 + 1)) ** 0.5)


@pytest.fixture
def mnist():
    grey = torch.rand(20, 784, generator=torch.Generator().manual_seed(2))
    return MNIST(grey[:12], torch.zeros(12), grey[12:], torch.zeros(8))


@pytest.mark.parametrize("objective", ["VAE", "IWAE"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_run_trains_its_bound_on_pixels_drawn_afresh(mnist, layers, objective):
    run = iwae_run(mnist, layers, objective, 3, 5)
    assert run.name == {1: "iwae", 2: "iwae_layers"}[layers] + f"_{objective.lower()}_3_seed_5"
    assert isinstance(run.new_model(), {1: VAE, 2: TwoLayerVAE}[layers])
    torch.testing.assert_close(run.new_model().decoder.body[-1].bias, pixel_log_odds(mnist.train_images))
    history = run.start(epochs=3).history
    bound, model, generator = BOUNDS[objective], run.new_model(), torch.Generator().manual_seed(5)
    optimizer = SOAP(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=328, pct_start=0.01, anneal_strategy="linear", cycle_momentum=False
    )
    losses = []
    for _ in range(3):
        batch = mnist.train_images[torch.randperm(12, generator=generator)]
        loss = -bound(model, binarise(batch, generator), 3, generator=generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert history.loss == pytest.approx(losses, rel=1e-5)
    for other in (iwae_run(mnist, layers, objective, 2, 5), iwae_run(mnist, layers, objective, 3, 6)):
        assert other.start(epochs=1).history.loss[0] != pytest.approx(losses[0], rel=1e-5)


def test_the_curve_is_of_bits_of_both_splits_by_the_same_draws_at_every_call(mnist):
    run = iwae_run(mnist, 1, "VAE", 1, 0)
    model, generator = run.new_model().requires_grad_(False), torch.Generator().manual_seed(0)
    record = run.evaluate(model)
    assert record == run.evaluate(model)
    assert set(record) == {"train_elbo", "train_nll", "test_elbo", "test_nll"}
    for name, grey, seed in (("train", mnist.train_images, 1), ("test", mnist.test_images, 0)):
        log_w = log_weights_in_parts(model, fixed_binarisation(grey, seed), 500, generator=generator)
        assert record[f"{name}_elbo"] == pytest.approx(float(log_w.mean()))
        assert record[f"{name}_nll"] == pytest.approx(-float(log_mean_exp(log_w, 0).mean()))


def test_runs_of_seeds_and_of_adam_have_their_own_names(mnist):
    runs = iwae_runs(mnist, 2, (0, 1), ("K = 1", "IWAE, K = 50"))
    assert {key: run.name for key, run in runs.items()} == {
        (of, seed): f"iwae_layers_{name}_seed_{seed}"
        for of, name in (("K = 1", "vae_1"), ("IWAE, K = 50", "iwae_50"))
        for seed in (0, 1)
    }
    run = iwae_run(mnist, 1, "VAE", 1, 0, optimizer=adam)
    assert (run.name, run.options["optimizer"]) == ("iwae_vae_1_adam", adam)


def test_bounds_are_measured_of_the_loaded_model(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("DGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    monkeypatch.setattr(bound_training, "BOUND_COUNTS", [1, 2, 10])
    run, x = iwae_run(mnist, 1, "VAE", 1, 0), torch.bernoulli(mnist.test_images)
    run.options |= {"epochs": 2}
    model = run.load(train=True, progress=False).model
    with pytest.warns(UserWarning, match="iwae_vae_1_seed_0_test"):
        values = measured_bounds(run, x)
    expected = bounds_in_parts(model, x, [1, 2, 10], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(values, {"log_p": expected[:, -1], "mean": expected.mean(0)})
    monkeypatch.setenv("DGM_RETRAIN", "never")
    torch.testing.assert_close(measured_bounds(run, x), values)
    with pytest.raises(RuntimeError, match="is missing"):
        measured_bounds(run, 1 - x)
    of_seeds = log_p_of_seeds({("a", 0): values, ("b", 0): values, ("a", 1): {"log_p": -values["log_p"]}})
    assert {name: tuple(log_p.shape) for name, log_p in of_seeds.items()} == {"a": (2, 8), "b": (1, 8)}
    torch.testing.assert_close(of_seeds["a"][1], -values["log_p"])


def test_first_losses_are_those_of_the_run_step_by_step(mnist):
    run = iwae_run(mnist, 1, "VAE", 1, 0)
    losses = first_losses(run, 4)  # an epoch is one step here
    assert losses.tolist() == pytest.approx(run.start(epochs=4).history.loss, rel=1e-6)
    assert not losses.requires_grad
    run.options["batch_size"] = 5  # three steps
    losses, sizes = first_losses(run, 3), torch.tensor([5.0, 5.0, 2.0])
    assert float(losses @ sizes) / 12 == pytest.approx(run.start(epochs=1).history.loss[0], rel=1e-6)


def test_a_first_epoch_is_measured_of_both_runs_and_its_start_compared_at_every_load(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("DGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    run, other, third = (iwae_run(mnist, 1, "VAE", 1, 0, peak=peak) for peak in (3e-3, 1.5e-3, 1e-3))
    for each in (run, other, third):
        each.options |= {"epochs": 2, "batch_size": 3}
    run.load(train=True, progress=False)
    with pytest.warns(UserWarning, match="iwae_vae_1_seed_0_first"):
        values = measured_first_epoch(run, other)
    assert values["run"].tolist() == first_losses(run, 4).tolist()
    assert values["other"].tolist() == first_losses(other, 4).tolist()
    monkeypatch.setenv("DGM_RETRAIN", "never")
    torch.testing.assert_close(measured_first_epoch(run, other), values)
    with pytest.raises(RuntimeError, match="is missing"):
        measured_first_epoch(run, third)
    run.loss = lambda *arguments, loss=run.loss: 1.01 * loss(*arguments)
    with pytest.raises(RuntimeError, match="is missing"):
        measured_first_epoch(run, other)
