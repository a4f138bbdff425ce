"""Three estimators of the gradient of the K-sample bound, held against quadrature, enumeration and each other."""

import math

import numpy as np
import pytest
import torch
from slopes import gradient
from torch import nn

from dgm_helpers.probability.densities import log_normal
from dgm_helpers.vae import multisample
from dgm_helpers.vae.bounds import elbo, iwae, normalised_weights
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.multisample import (
    doubly_reparameterised_bound,
    path_derivative_elbo,
    reparameterised_bound,
    resampled_bound,
)

ESTIMATORS = [reparameterised_bound, doubly_reparameterised_bound, resampled_bound]
NOISE = math.log(0.5)  # log-variance of x given z


def gaussian(x, mean):
    return log_normal(x, mean, torch.full_like(mean, NOISE))


class LinearEncoder(nn.Module):
    """q = N(a . x + b, exp(log_var)), one latent dimension."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(2, 1)
        self.log_var = nn.Parameter(torch.tensor([-0.4]))

    def forward(self, x):
        mu = self.mean(x)
        return mu, self.log_var.expand_as(mu)


@pytest.fixture
def model():
    """z ~ N(0, 1), x | z ~ N(W z + b, I / 2) in two dimensions, and an encoder that is not the posterior."""
    torch.manual_seed(0)
    return VAE(LinearEncoder(), nn.Linear(1, 2), 1, log_likelihood=gaussian).double()


def exact_log_p(model, x):
    weight, bias = model.decoder.weight, model.decoder.bias
    cov = weight @ weight.T + math.exp(NOISE) * torch.eye(2, dtype=x.dtype)
    return torch.distributions.MultivariateNormal(bias, cov).log_prob(x)


def num_encoder(model):
    return sum(p.numel() for p in model.encoder.parameters())


def quadrature(monkeypatch, num_samples, nodes=64):
    """Make the draws all points of a product rule over epsilon; return the rule's weights, (nodes^K,)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = torch.tensor(weights / weights.sum())
    grid = torch.cartesian_prod(*[torch.tensor(points)] * num_samples).T  # (K, nodes^K)

    def draws(mu, log_var, *, generator=None):
        return mu + torch.exp(0.5 * log_var) * grid.unsqueeze(-1)

    monkeypatch.setattr("dgm_helpers.vae.model.sample_normal", draws)
    return torch.cartesian_prod(*[weights] * num_samples).prod(1)


X = torch.tensor([[0.9, -0.4]], dtype=torch.float64)


@pytest.mark.parametrize("num_samples", [2, 3])
def test_the_doubly_reparameterised_gradient_has_the_same_mean(model, monkeypatch, num_samples):
    rule = quadrature(monkeypatch, num_samples, {2: 64, 3: 32}[num_samples])
    x = X.expand(len(rule), 2)
    plain = gradient(model, (rule * reparameterised_bound(model, x, num_samples)).sum())
    doubly = gradient(model, (rule * doubly_reparameterised_bound(model, x, num_samples)).sum())
    assert plain[: num_encoder(model)].abs().min() > 1e-3  # the encoder is not at its optimum: not 0 = 0
    torch.testing.assert_close(doubly, plain, rtol=0, atol=1e-6)


def test_the_mean_bound_and_its_gradient_are_those_of_finite_differences(model, monkeypatch):
    """The gradient of L_2 itself, by quadrature of the value, differentiated numerically."""
    rule = quadrature(monkeypatch, 2)
    x = X.expand(len(rule), 2)
    slopes = gradient(model, (rule * doubly_reparameterised_bound(model, x, 2)).sum())
    parameters, step = list(model.parameters()), 1e-5
    start = torch.nn.utils.parameters_to_vector(parameters).detach()
    for i, slope in enumerate(slopes):
        values = []
        for sign in (1, -1):
            shifted = start.clone()
            shifted[i] += sign * step
            torch.nn.utils.vector_to_parameters(shifted, parameters)
            with torch.no_grad():
                values.append(float((rule * reparameterised_bound(model, x, 2)).sum()))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(slope), abs=1e-6)


def test_the_doubly_reparameterised_gradient_is_its_formula(model):
    """Sum of w~^2 d log w / dz dz/dmu, written out for the Gaussian model."""
    num_samples = 7
    value = doubly_reparameterised_bound(model, X, num_samples, generator=torch.Generator().manual_seed(3))
    came = gradient(model, value.sum())
    with torch.no_grad():
        mu, log_var = model.encoder(X)
        epsilon = torch.randn(num_samples, 1, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        z = mu + torch.exp(0.5 * log_var) * epsilon
        log_w = model.log_joint(X, z) - log_normal(z, mu, log_var)
        weights = (torch.exp(log_w) / torch.exp(log_w).sum(0)).unsqueeze(-1)
        residual = (X - model.decoder(z)) * math.exp(-NOISE)
        slope = residual @ model.decoder.weight - z + (z - mu) * torch.exp(-log_var)
        of_mu = (weights**2 * slope).sum(0)
        expected = {
            "log_var": (weights**2 * slope * 0.5 * torch.exp(0.5 * log_var) * epsilon).sum(0).flatten(),
            "mean.weight": (of_mu * X).flatten(),
            "mean.bias": of_mu.flatten(),
        }
        decoder = [(weights * residual * z).sum((0, 1)), (weights * residual).sum((0, 1))]
    torch.testing.assert_close(came, torch.cat([*expected.values(), *decoder]))
    torch.testing.assert_close(value, iwae(log_w))


def test_the_plain_gradient_is_the_average_with_normalised_weights(model):
    num_samples, seed = 4, 5
    came = gradient(
        model, reparameterised_bound(model, X, num_samples, generator=torch.Generator().manual_seed(seed)).sum()
    )
    log_w = model.log_weights(X, num_samples, generator=torch.Generator().manual_seed(seed))
    weights = normalised_weights(log_w)
    expected = sum(float(w) * gradient(model, one) for w, one in [
        (weights[k, 0], model.log_weights(X, num_samples, generator=torch.Generator().manual_seed(seed))[k, 0])
        for k in range(num_samples)
    ])  # fmt: skip
    torch.testing.assert_close(came, expected)


def test_the_mean_over_the_choice_is_the_doubly_reparameterised_gradient(model, monkeypatch):
    num_samples, seed = 5, 2
    doubly = gradient(
        model, doubly_reparameterised_bound(model, X, num_samples, generator=torch.Generator().manual_seed(seed)).sum()
    )
    with torch.no_grad():
        weights = normalised_weights(model.log_weights(X, num_samples, generator=torch.Generator().manual_seed(seed)))
    mean = torch.zeros_like(doubly)
    for k in range(num_samples):
        monkeypatch.setattr(multisample, "_one_of", lambda weights, generator, k=k: torch.tensor([[k]]))
        value = resampled_bound(model, X, num_samples, generator=torch.Generator().manual_seed(seed))
        mean += weights[k, 0] * gradient(model, value.sum())
    torch.testing.assert_close(mean, doubly)


def test_the_path_derivative_elbo_is_the_elbo_without_its_score(model):
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    value, whole = (
        path_derivative_elbo(model, x, 4, generator=seeded()),
        elbo(model.log_weights(x, 4, generator=seeded())),
    )
    torch.testing.assert_close(value, whole)
    mu, log_var = model.encoder(x)
    epsilon = torch.randn(4, 6, 1, generator=seeded(), dtype=torch.float64)
    score = log_normal((mu + torch.exp(0.5 * log_var) * epsilon).detach(), mu, log_var).mean(0)
    left_out = gradient(model, whole.sum()) + gradient(model, score.sum())
    torch.testing.assert_close(gradient(model, value.sum()), left_out)
    one = path_derivative_elbo(model, x, 1, generator=seeded())
    doubly = doubly_reparameterised_bound(model, x, 1, generator=seeded())
    torch.testing.assert_close(gradient(model, one.sum()), gradient(model, doubly.sum()))


def test_one_of_the_draws_is_chosen_by_the_weights():
    weights = torch.tensor([[0.5, 0.0, 0.9], [0.3, 1.0, 0.1], [0.2, 0.0, 0.0]]).repeat_interleave(100_000, 1)
    chosen = multisample._one_of(weights, torch.Generator().manual_seed(0))
    assert chosen.shape == (1, 300_000)
    for k in range(3):
        share = (chosen.view(3, -1) == k).float().mean(1)
        assert ((share - weights[k, ::100_000]).abs() <= 5 * (0.25 / 100_000) ** 0.5).all()
        assert (share[weights[k, ::100_000] == 0] == 0).all()


def test_the_choice_has_the_normalised_weights_probabilities(model):
    """One latent and one data point in many copies: the chosen index's frequencies, by its decoder gradient."""
    copies, num_samples = 20_000, 3
    generator = torch.Generator().manual_seed(0)
    x = X.expand(copies, 2)
    resampled = gradient(model, resampled_bound(model, x, num_samples, generator=generator).mean())
    pieces = torch.stack([
        gradient(model, resampled_bound(model, x[:200], num_samples, generator=generator).mean()) for _ in range(100)
    ])  # fmt: skip
    error = pieces.std(0) * math.sqrt(200 / copies)
    rule_free = torch.stack([
        gradient(model, doubly_reparameterised_bound(model, x[:200], num_samples, generator=generator).mean())
        for _ in range(100)
    ])  # fmt: skip
    other = rule_free.std(0) / 10
    assert ((resampled - rule_free.mean(0)).abs() < 4 * torch.sqrt(error**2 + other**2)).all()


def test_one_draw_is_path_only_and_at_the_posterior_without_variance(model):
    """With q the posterior log w is constant: all three bounds are log p(x), the last two encoder gradients vanish."""
    with torch.no_grad():
        weight, noise = model.decoder.weight, math.exp(NOISE)
        var = 1 / (1 + float((weight**2).sum()) / noise)
        model.encoder.mean.weight.copy_(var / noise * weight.T)
        model.encoder.mean.bias.copy_(-(var / noise) * (weight.T @ model.decoder.bias))
        model.encoder.log_var.fill_(math.log(var))
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for estimator in ESTIMATORS:
        for num_samples in (1, 4):
            value = estimator(model, x, num_samples, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(value, exact_log_p(model, x))
            slopes = gradient(model, value.sum())[: num_encoder(model)]
            if estimator is not reparameterised_bound:
                torch.testing.assert_close(slopes, torch.zeros_like(slopes), rtol=0, atol=1e-10)
            else:
                assert slopes.abs().max() > 1e-3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_value_is_the_bound_of_the_same_draws_with_and_without_gradients(estimator):
    torch.manual_seed(0)
    model = VAE.mlp(6, [5, 4], 3, activation=nn.Tanh)
    x = torch.bernoulli(torch.full((8, 6), 0.5), generator=torch.Generator().manual_seed(0))
    expected = iwae(model.log_weights(x, 5, generator=torch.Generator().manual_seed(7)))
    value = estimator(model, x, 5, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(value, expected)
    with torch.no_grad():
        torch.testing.assert_close(estimator(model, x, 5, generator=torch.Generator().manual_seed(7)), expected)
    value.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("estimator", [doubly_reparameterised_bound, resampled_bound])
def test_gradients_of_many_images_are_the_sum_of_single_ones(model, monkeypatch, estimator):
    """Each image has its own weights: a batch's gradient is the sum of its images', here with the same epsilon."""

    def draws(mu, log_var, *, generator=None):
        return mu + torch.exp(0.5 * log_var) * torch.linspace(-1.5, 1.5, len(mu), dtype=mu.dtype)[:, None, None]

    monkeypatch.setattr("dgm_helpers.vae.model.sample_normal", draws)
    monkeypatch.setattr(multisample, "_one_of", lambda weights, generator: weights.argmax(0, keepdim=True))
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = gradient(model, estimator(model, x, 3).sum())
    torch.testing.assert_close(
        together, sum(gradient(model, estimator(model, x[i : i + 1], 3).sum()) for i in range(4))
    )
