"""The VAE: its bounds against an exact integral, its shapes, its gradients."""

import itertools

import pytest
import torch

from dgm_helpers.probability.densities import kl_standard_normal, log_bernoulli, log_normal, log_standard_normal
from dgm_helpers.probability.quadrature import grid_2d, log_evidence, log_integral
from dgm_helpers.vae import model as vae
from dgm_helpers.vae.bounds import elbo, iwae
from dgm_helpers.vae.model import VAE, MLPDecoder, MLPEncoder

D, SPACING = 6, 0.05


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = VAE(MLPEncoder(D, 9, 2), MLPDecoder(2, 9, D), 2).double()
    for parameter in model.decoder.parameters():
        parameter.data *= 4  # so that z matters
    return model


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((5, D), 0.5, dtype=torch.float64), generator=torch.Generator().manual_seed(1))


def exact(model, x):
    return log_evidence(model.grid_log_joint(grid_2d(-7, 7, SPACING, dtype=torch.float64)), x, SPACING)


def test_the_exact_likelihood_sums_to_one_over_all_images(model):
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    assert float(exact(model, every).exp().sum()) == pytest.approx(1, abs=1e-9)


def test_the_shared_grid_equals_the_joint_written_out(model, x):
    points = grid_2d(-2, 2, 0.5, dtype=torch.float64)
    each = torch.stack([log_bernoulli(one, model.decoder(points)) + log_standard_normal(points) for one in x])
    torch.testing.assert_close(model.grid_log_joint(points)(x), each)
    torch.testing.assert_close(model.log_joint(x, points.flatten(0, 1).unsqueeze(1)).T, each.flatten(1))


def test_a_grid_decoded_in_parts_is_the_whole_grid(model, x, monkeypatch):
    points = grid_2d(-2, 2, 0.5, dtype=torch.float64)
    whole = model.grid_log_joint(points)(x)
    monkeypatch.setattr(vae, "GRID_POINTS", 7)
    torch.testing.assert_close(model.grid_log_joint(points)(x), whole)


def test_log_weights_average_to_the_likelihood(model, x):
    log_w = model.log_weights(x, 200_000, generator=torch.Generator().manual_seed(0))
    log_p = exact(model, x)
    error = (log_w - log_p).exp().std(0) / len(log_w) ** 0.5
    assert ((iwae(log_w) - log_p).abs() < 4 * error).all()
    assert (elbo(log_w) < log_p).all()


def test_the_bound_falls_short_by_the_kl_to_the_posterior(model, x):
    """Both sides by quadrature: no sampling, so to rounding."""
    points = grid_2d(-9, 9, SPACING, dtype=torch.float64)
    log_joint = model.grid_log_joint(points)(x)
    mu, log_var = model.encoder(x)
    log_q = log_normal(points, mu[:, None, None], log_var[:, None, None])
    posterior = log_joint - log_integral(log_joint, SPACING)[:, None, None]
    kl = (log_q.exp() * (log_q - posterior)).sum((1, 2)) * SPACING**2
    logits = model.decoder(points)
    reconstruction = torch.stack([log_bernoulli(one, logits) for one in x])
    bound = (log_q.exp() * reconstruction).sum((1, 2)) * SPACING**2 - kl_standard_normal(mu, log_var)
    torch.testing.assert_close(exact(model, x) - bound, kl, atol=1e-7, rtol=0)


def test_one_draw_elbo_is_unbiased(model, x):
    generator, n = torch.Generator().manual_seed(0), 20_000
    estimates = model.elbo(x.repeat_interleave(n, 0), generator=generator).unflatten(0, (5, n))
    reference = model.log_weights(x, n, generator=generator)
    error = (estimates.var(1) / n + reference.var(0) / n).sqrt()
    assert ((estimates.mean(1) - elbo(reference)).abs() < 4 * error).all()


def test_shapes_and_generator(model, x):
    assert model.log_weights(x, 3).shape == (3, 5)
    assert model.elbo(x).shape == (5,)
    assert model.sample(7).shape == (7, D)
    one, two = (model.sample(4, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two)


def test_a_batch_of_five_is_five_singles(model, x):
    mu, log_var = model.encoder(x)
    for i in range(5):
        torch.testing.assert_close(model.encoder(x[i])[0], mu[i])
        torch.testing.assert_close(model.encoder(x[i])[1], log_var[i])


def test_every_parameter_gets_a_gradient(model, x):
    model.elbo(x, generator=torch.Generator().manual_seed(0)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_hidden_layers_and_activation():
    encoder = MLPEncoder(D, [9, 5], 2, activation=torch.nn.Tanh)
    assert [type(layer).__name__ for layer in encoder.body] == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert [tuple(p.shape) for p in encoder.parameters()] == [(9, D), (9,), (5, 9), (5,), (4, 5), (4,)]
    assert MLPDecoder(2, [5, 9], D)(torch.zeros(3, 2)).shape == (3, D)


def test_another_likelihood(x):
    torch.manual_seed(0)
    model = VAE(MLPEncoder(D, 9, 2), MLPDecoder(2, 9, D), 2, log_likelihood=unit_normal).double()
    z = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(model.decoder(z), 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(model.log_joint(x, z), expected + log_standard_normal(z))
    mu, log_var = model.encoder(x)
    draw = mu + (0.5 * log_var).exp() * torch.randn(
        mu.shape, dtype=mu.dtype, generator=torch.Generator().manual_seed(3)
    )
    reconstruction = torch.distributions.Normal(model.decoder(draw), 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(
        model.elbo(x, generator=torch.Generator().manual_seed(3)), reconstruction - kl_standard_normal(mu, log_var)
    )
    with pytest.raises(ValueError, match="is for log_bernoulli"):
        model.grid_log_joint(grid_2d(-1, 1, 0.5))


def unit_normal(x, mu):
    return log_normal(x, mu, torch.zeros_like(mu))
