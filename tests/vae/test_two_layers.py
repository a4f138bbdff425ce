"""The two-layer VAE, held against quadrature over both layers, all possible images and a linear-Gaussian model."""

import itertools
import math

import numpy as np
import pytest
import torch
from slopes import gradient
from torch import nn

from dgm_helpers.probability.densities import log_normal, sample_bernoulli
from dgm_helpers.vae import multisample
from dgm_helpers.vae import two_layers as hierarchical
from dgm_helpers.vae.bounds import elbo, iwae, normalised_weights
from dgm_helpers.vae.multisample import (
    doubly_reparameterised_bound,
    path_derivative_elbo,
    reparameterised_bound,
    resampled_bound,
)
from dgm_helpers.vae.networks import MLPDecoder, MLPEncoder
from dgm_helpers.vae.two_layers import TwoLayerVAE

X = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)


@pytest.fixture
def model():
    """Three bits, and one latent variable in each layer."""
    torch.manual_seed(1)
    parts = [MLPEncoder(d, [3], 1, activation=nn.Tanh) for d in (3, 1, 1)]
    return TwoLayerVAE(*parts, MLPDecoder(1, [3], 3, activation=nn.Tanh), (1, 1)).double()


def num_encoder(model):
    return sum(p.numel() for network in (model.encoder, model.upper_encoder) for p in network.parameters())


def quadrature(monkeypatch, num_samples, nodes):
    """Make the draws of both layers all points of a product rule over epsilon; return the rule's weights."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = torch.tensor(weights / weights.sum())
    grid = torch.cartesian_prod(*[torch.tensor(points)] * 2 * num_samples).T.unflatten(0, (2, num_samples))
    layers = itertools.cycle(grid)  # each (K, nodes^2K); the lower layer is drawn first

    def draws(mu, log_var, *, generator=None):
        return mu + torch.exp(0.5 * log_var) * next(layers).unsqueeze(-1)

    monkeypatch.setattr(hierarchical, "sample_normal", draws)
    return torch.cartesian_prod(*[weights] * 2 * num_samples).prod(1)


def test_the_probabilities_of_all_images_sum_to_one(model):
    line = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    with torch.no_grad():
        p = torch.exp(torch.stack([model.log_joint(x, z) for x in images])).sum(1) * (line[1] - line[0]) ** 2
    torch.testing.assert_close(p.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-9)
    assert p.max() > 1.2 * p.min()


def test_the_mean_weight_is_the_probability(model, monkeypatch):
    line = torch.linspace(-12, 12, 401, dtype=torch.float64)
    with torch.no_grad():
        p = (
            torch.exp(model.log_joint(X, torch.cartesian_prod(line, line).unsqueeze(1))).sum()
            * (line[1] - line[0]) ** 2
        )
        rule = quadrature(monkeypatch, 1, 80)
        came = (rule * torch.exp(model.log_weights(X.expand(len(rule), 3), 1)[0])).sum()
    assert float(came) == pytest.approx(float(p), rel=1e-6)


def test_the_doubly_reparameterised_gradient_has_the_mean_of_the_plain_one(model, monkeypatch):
    rule = quadrature(monkeypatch, 2, 28)
    x = X.expand(len(rule), 3)
    plain, doubly = (
        gradient(model, (rule * bound(model, x, 2)).sum())
        for bound in (reparameterised_bound, doubly_reparameterised_bound)
    )
    size = num_encoder(model)
    assert (plain[:size].abs() > 1e-4).float().mean() > 0.5  # the encoders are not at their optimum: not 0 = 0
    torch.testing.assert_close(doubly, plain, rtol=0, atol=1e-5)
    start, step = nn.utils.parameters_to_vector(model.parameters()).detach(), 1e-5
    for i in (0, 10, size - 1):  # and it is the slope of L_2 itself
        values = []
        for sign in (1, -1):
            shifted = start.clone()
            shifted[i] += sign * step
            nn.utils.vector_to_parameters(shifted, model.parameters())
            with torch.no_grad():
                values.append(float((rule * reparameterised_bound(model, x, 2)).sum()))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(doubly[i]), abs=1e-5)


def test_along_the_path_is_the_whole_gradient_less_the_score(model):
    """held leaves out the slope of log q in its parameters at fixed z, and nothing else."""
    seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    x = X.expand(6, 3)
    value, whole = (
        path_derivative_elbo(model, x, 4, generator=seeded()),
        elbo(model.log_weights(x, 4, generator=seeded())),
    )
    torch.testing.assert_close(value, whole)
    z, _ = model.draws(x, 4, generator=seeded())
    h1, h2 = z.detach().split((1, 1), -1)
    score = (log_normal(h1, *model.encoder(x)) + log_normal(h2, *model.upper_encoder(h1))).mean(0)
    of_score = gradient(model, score.sum())
    torch.testing.assert_close(gradient(model, value.sum()), gradient(model, whole.sum()) + of_score)
    assert of_score.abs().max() > 1e-2


def test_at_the_posterior_the_bound_is_exact_and_the_encoders_gradient_vanishes():
    """h2 ~ N(0, 1), h1 = a h2 + noise, x = c h1 + noise: both conditionals of the posterior are Gaussian."""
    a, r, c, s = 0.8, 0.3, 1.7, 0.5  # r and s are the noises' variances

    class Linear(nn.Module):
        def __init__(self, slope, var):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor([slope], dtype=torch.float64))
            self.log_var = nn.Parameter(torch.tensor([math.log(var)], dtype=torch.float64))

        def forward(self, h):
            return self.slope * h, self.log_var.expand_as(h)

    prior_var = a**2 + r
    var1 = 1 / (1 / prior_var + c**2 / s)
    var2 = 1 / (1 + a**2 / r)
    decoder = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        decoder.weight.fill_(c)
    model = TwoLayerVAE(
        Linear(var1 * c / s, var1), Linear(var2 * a / r, var2), Linear(a, r), decoder, (1, 1),
        log_likelihood=lambda x, mean: log_normal(x, mean, torch.full_like(mean, math.log(s))),
    )  # fmt: skip
    x = torch.randn(5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = log_normal(x, torch.zeros_like(x), torch.full_like(x, math.log(c**2 * prior_var + s)))
    for bound in (reparameterised_bound, doubly_reparameterised_bound, path_derivative_elbo):
        value = bound(model, x, 3, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(value, exact)
        slopes = gradient(model, value.sum())[:4]
        if bound is reparameterised_bound:
            assert slopes.abs().max() > 1e-2
        else:
            torch.testing.assert_close(slopes, torch.zeros_like(slopes), rtol=0, atol=1e-10)


def test_the_resampled_gradients_mean_over_the_choice_is_the_doubly_reparameterised_one(model, monkeypatch):
    seeded = lambda: torch.Generator().manual_seed(2)  # noqa: E731
    weights = normalised_weights(model.log_weights(X, 4, generator=seeded()))
    doubly, mean = gradient(model, doubly_reparameterised_bound(model, X, 4, generator=seeded()).sum()), 0
    for k in range(4):
        monkeypatch.setattr(multisample, "_one_of", lambda weights, generator, k=k: torch.tensor([[k]]))
        mean = mean + weights[k, 0] * gradient(model, resampled_bound(model, X, 4, generator=seeded()).sum())
    torch.testing.assert_close(mean, doubly)


def test_latent_draws_have_the_moments_of_both_layers():
    torch.manual_seed(0)
    prior = MLPEncoder(2, [], 3).double()  # linear: h1 is Gaussian given h2, and its moments are known
    with torch.no_grad():
        prior.body[0].weight[3:] = 0
    model = TwoLayerVAE(nn.Identity(), nn.Identity(), prior, nn.Identity(), (3, 2)).double()
    with torch.no_grad():
        h1, h2 = model.sample_latent(200_000, generator=torch.Generator().manual_seed(0)).split((3, 2), 1)
        slope, offset = prior.body[0].weight[:3], prior.body[0].bias
        cov = slope @ slope.T + torch.diag(torch.exp(offset[3:]))
    error = cov.diag().sqrt() / 200_000**0.5
    assert ((h1.mean(0) - offset[:3]).abs() < 5 * error).all()
    spread = torch.sqrt((cov**2 + torch.outer(cov.diag(), cov.diag())) / 200_000)  # standard error of a covariance
    assert ((torch.cov(h1.T) - cov).abs() < 5 * spread).all()
    between = torch.cov(torch.cat([h1, h2], 1).T)[:3, 3:]  # Cov(h1, h2) is the slope, as Cov(h2) = I
    assert ((between - slope).abs() < 5 * torch.sqrt((slope**2 + cov.diag()[:, None]) / 200_000)).all()


def test_a_sample_is_bits_of_the_mean_image_given_the_lower_layer(model):
    seeded = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    z = model.sample_latent(100_000, generator=seeded())
    torch.testing.assert_close(model.logits(z), model.decoder(z[:, :1]))
    torch.testing.assert_close(model.mean(z), torch.sigmoid(model.logits(z)))
    bits = model.sample(100_000, generator=seeded())  # the same z first
    assert not bits.requires_grad
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    residual = bits - model.mean(z).detach()
    assert (residual.mean(0).abs() < 4 * residual.std(0) / 100_000**0.5).all()
    generator = seeded()
    of_latents = sample_bernoulli(model.logits(model.sample_latent(9, generator=generator)), generator=generator)
    assert torch.equal(model.sample(9, generator=seeded()), of_latents)


def test_shapes_and_a_wrong_number_of_components(model):
    x = X.expand(4, 3)
    z, log_q = model.draws(x, 5, generator=torch.Generator().manual_seed(0))
    assert z.shape == (5, 4, 2)
    assert log_q.shape == (5, 4)
    log_w = model.log_weights(x, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_w, model.log_joint(x, z) - log_q)
    torch.testing.assert_close(
        reparameterised_bound(model, x, 5, generator=torch.Generator().manual_seed(0)), iwae(log_w)
    )
    assert model.sample(7).shape == (7, 3)
    with pytest.raises(ValueError, match=r"expected z of shape \(\.\.\., 2\), got \(5, 4, 3\)"):
        model.log_joint(x, torch.zeros(5, 4, 3, dtype=torch.float64))
