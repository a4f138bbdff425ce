"""The VAE: its bounds against an exact integral, its shapes, its gradients."""

import itertools
import warnings

import pytest
import torch

from dgm_helpers.probability.densities import kl_standard_normal, log_bernoulli, log_normal, log_standard_normal
from dgm_helpers.probability.quadrature import grid_2d, log_integral
from dgm_helpers.vae import tiles
from dgm_helpers.vae.bounds import elbo, iwae
from dgm_helpers.vae.likelihoods import Gaussian
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.networks import MLPDecoder, MLPEncoder
from dgm_helpers.vae.runs import vae_2d_loss, vae_2d_run

D, SPACING = 6, 0.1


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = VAE.mlp(D, 9, 2).double()
    for parameter in model.decoder.parameters():
        parameter.data *= 4  # so that z matters
    return model


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((5, D), 0.5, dtype=torch.float64), generator=torch.Generator().manual_seed(1))


def exact(model, x):
    return model.log_evidence(x, half_width=7.0, spacing=SPACING)


def test_the_exact_likelihood_sums_to_one_over_all_images(model):
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    assert float(exact(model, every).exp().sum()) == pytest.approx(1, abs=1e-9)
    assert float(model.log_evidence(every, half_width=8.0, spacing=0.1).exp().sum()) == pytest.approx(1, abs=1e-9)


def test_the_exact_likelihood_refuses_what_it_is_not_for(model, x):
    with pytest.raises(ValueError, match=r"expected bits, got values from 0 to 0\.5"):
        model.log_evidence(x / 2)
    with pytest.raises(ValueError, match=r"of 2 dimensions, this model's has 3"):
        VAE.mlp(D, 9, 3).log_evidence(x.float())


def test_mass_at_the_border_of_the_grid_is_reported(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact(model, x)
    with pytest.warns(UserWarning, match="5 of 5 posteriors reach the border of the grid of half-width 1"):
        narrow = model.log_evidence(x, half_width=1.0, spacing=SPACING)
    assert (narrow < exact(model, x)).all()


@pytest.mark.parametrize("direction", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
def test_mass_at_any_one_border_is_reported(direction):
    """log-odds 5 (d . z - 6): a white image asks for d . z of about 6."""
    decoder = torch.nn.Linear(2, D)
    decoder.weight.data[:], decoder.bias.data[:] = 5 * torch.tensor(direction), -30.0
    model, white = VAE(MLPEncoder(D, 9, 2), decoder, 2), torch.ones(1, D)
    with pytest.warns(UserWarning, match="1 of 1 posteriors reach"):
        model.log_evidence(white, half_width=6.0, spacing=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.log_evidence(white, half_width=12.0, spacing=0.1)


def test_a_grid_knows_its_spacing_and_what_is_computed_from_it_is_plain():
    points = grid_2d(-2, 2, 0.5)
    assert points.spacing == 0.5
    assert type(2 * points) is type(points.flatten(0, 1)) is torch.Tensor
    assert not hasattr(points + 1, "spacing")


def test_the_shared_grid_equals_the_joint_written_out(model, x):
    points = grid_2d(-2, 2, 0.5, dtype=torch.float64)
    each = torch.stack([log_bernoulli(one, model.decoder(points)) + log_standard_normal(points) for one in x])
    torch.testing.assert_close(model.grid_log_joint(points)(x), each)
    torch.testing.assert_close(model.log_joint(x, points.flatten(0, 1).unsqueeze(1)).T, each.flatten(1))


def test_a_grid_decoded_in_parts_is_the_whole_grid(model, x, monkeypatch):
    points = grid_2d(-2, 2, 0.5, dtype=torch.float64)
    whole = model.grid_log_joint(points)(x)
    monkeypatch.setattr(tiles, "AT_ONCE", 7)
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
    assert model.sample_latent(7).shape == (7, 2)
    one, two = (model.sample(4, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two)


def test_samples_are_bits_with_the_probabilities_of_the_model(model):
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    index = (drawn @ (2.0 ** torch.arange(D - 1, -1, -1, dtype=torch.float64))).long()
    counts, expected = torch.bincount(index, minlength=2**D), 20_000 * exact(model, every).exp()
    chi_square = float(((counts - expected) ** 2 / expected).sum())  # 63 degrees of freedom
    assert chi_square < 63 + 5 * (2 * 63) ** 0.5


def test_the_decoders_outputs_have_their_own_names(model):
    z = model.sample_latent(5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(z, torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(model.logits(z), model.decoder(z))
    torch.testing.assert_close(model.mean(z), 1 / (1 + (-model.decoder(z)).exp()))


def test_the_common_model_draws_its_parameters_encoder_first():
    torch.manual_seed(3)
    common = VAE.mlp(D, [9, 5], 2, activation=torch.nn.Tanh)
    torch.manual_seed(3)
    encoder, decoder = (
        MLPEncoder(D, [9, 5], 2, activation=torch.nn.Tanh),
        MLPDecoder(2, [5, 9], D, activation=torch.nn.Tanh),
    )
    assert repr(common) == repr(VAE(encoder, decoder, 2))
    for name, value in VAE(encoder, decoder, 2).state_dict().items():
        assert torch.equal(common.state_dict()[name], value), name


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
    model = VAE(MLPEncoder(D, 9, 2), MLPDecoder(2, 9, D), 2, log_likelihood=Gaussian(0.3)).double()
    z = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(model.decoder(z), 0.3**0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(model.log_joint(x, z), expected + log_standard_normal(z))
    mu, log_var = model.encoder(x)
    noise = torch.randn(mu.shape, dtype=mu.dtype, generator=torch.Generator().manual_seed(3))
    draw = mu + (0.5 * log_var).exp() * noise
    reconstruction = torch.distributions.Normal(model.decoder(draw), 0.3**0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(
        model.elbo(x, generator=torch.Generator().manual_seed(3)), reconstruction - kl_standard_normal(mu, log_var)
    )
    torch.testing.assert_close(model.mean(z), model.decoder(z))
    drawn = Gaussian(0.3).sample(torch.full((50_000,), 2.0), generator=torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(2, abs=0.01)
    assert float(drawn.var()) == pytest.approx(0.3, abs=0.01)
    assert model.sample(4).shape == (4, D)
    with pytest.raises(ValueError, match="is for a Bernoulli"):
        model.grid_log_joint(grid_2d(-1, 1, 0.5))


def test_the_run_of_b4():
    """Its loss is the one-draw ELBO of pixels tossed with the batch's generator."""
    grey = torch.rand(6, 784, generator=torch.Generator().manual_seed(0))
    run = vae_2d_run(grey, "another", epochs=3)
    model, generator = run.new_model(), torch.Generator().manual_seed(1)
    bits = torch.bernoulli(grey, generator=generator)
    expected = -model.elbo(bits, generator=generator).mean()
    torch.testing.assert_close(vae_2d_loss(model, grey, torch.Generator().manual_seed(1)), expected)
    assert run.options["epochs"] == 3
    assert [tuple(p.shape) for p in model.decoder.parameters()] == [(512, 2), (512,), (784, 512), (784,)]
