"""Local grids and the best Gaussian, on a decoder whose posterior is known."""

import math

import pytest
import torch
from torch import nn

from dgm_helpers.probability.quadrature import grid_2d, log_evidence
from dgm_helpers.vae import tiles
from dgm_helpers.vae.model import VAE, MLPDecoder, MLPEncoder
from dgm_helpers.vae.posteriors import best_gaussian, elbo_on_grid, local_grids, svi

MEAN, COV = torch.tensor([[0.3, -0.8], [-1.0, 0.2]]).double(), torch.tensor([[0.5, 0.3], [0.3, 0.4]]).double()
LOG_Z = torch.tensor([-3.0, -700.0]).double()
SHARED, UNIT = grid_2d(-6, 6, 0.1, dtype=torch.float64), grid_2d(-6, 6, 0.2, dtype=torch.float64)


class GaussianPosterior(nn.Module):
    """log p(x, z) = LOG_Z + log N(z; MEAN, COV); "images" are their own indices."""

    def log_joint(self, x, z):
        index = x[:, 0].long()
        return LOG_Z[index] + torch.distributions.MultivariateNormal(MEAN[index], COV).log_prob(z)


def one_tile(model, x, points):
    """All points for all images, of a model that is no VAE."""
    if isinstance(model, VAE):
        yield from occupied_tiles(model, x, points)
    else:
        index = torch.arange(len(points.flatten(0, 1)))
        yield torch.arange(len(x)), index, model.log_joint(x, points.flatten(0, 1).unsqueeze(1)).T


occupied_tiles = tiles.occupied_tiles


@pytest.fixture(scope="module", autouse=True)
def _any_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "occupied_tiles", one_tile)
        yield


@pytest.fixture(scope="module")
def grids():
    return local_grids(GaussianPosterior(), torch.tensor([[0.0], [1.0]]).double(), SHARED, UNIT, batch_size=1)


def test_posterior_sums_are_the_known_ones():
    log_p, mean, sd, border = tiles.posterior_sums(GaussianPosterior(), torch.tensor([[0.0], [1.0]]).double(), SHARED)
    torch.testing.assert_close(log_p, LOG_Z, atol=1e-6, rtol=0)
    torch.testing.assert_close(mean, MEAN, atol=1e-6, rtol=0)
    torch.testing.assert_close(sd, COV.diagonal().sqrt().expand(2, 2), atol=1e-6, rtol=0)
    assert (border < 1e-9).all()


def test_local_grids_are_placed_by_the_posterior_and_hold_its_mass(grids):
    torch.testing.assert_close(grids.mean, MEAN, atol=1e-6, rtol=0)
    torch.testing.assert_close(grids.scale, COV.diagonal().sqrt().expand(2, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(grids.log_evidence, LOG_Z, atol=1e-6, rtol=0)


@pytest.mark.parametrize("slope", [None, torch.tensor([[0.5], [-0.3]]).double()], ids=["diagonal", "tilted"])
def test_the_bound_on_the_grid_is_log_z_minus_the_known_kl(grids, slope):
    """KL(q || p) of two Gaussians in u, where p has mean 0 and the correlation matrix as covariance. The grid ends more
    than six standard deviations from each mean: what it cuts off is below the tolerance."""
    mu, log_sd = torch.tensor([[0.4, -0.7], [0.0, 0.9]]).double(), torch.tensor([[-0.2, -0.3], [-0.9, -0.4]]).double()
    rise = torch.zeros(2, 1).double() if slope is None else slope
    scale_tril = torch.diag_embed(log_sd.exp())
    scale_tril[:, 1, 0] = rise[:, 0] * log_sd[:, 0].exp()  # u2 = mu2 + slope (u1 - mu1) + sd2 epsilon
    q = torch.distributions.MultivariateNormal(mu, scale_tril=scale_tril)
    correlation = COV / torch.outer(COV.diagonal().sqrt(), COV.diagonal().sqrt())
    p = torch.distributions.MultivariateNormal(torch.zeros(2).double(), correlation)
    expected = LOG_Z - torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(elbo_on_grid(grids, mu, log_sd, slope), expected, atol=1e-6, rtol=0)


def test_a_tilted_gaussian_is_the_posterior(grids):
    elbo, mu, sd = best_gaussian(grids, tilt=True, num_steps=600)
    torch.testing.assert_close(elbo, LOG_Z, atol=2e-4, rtol=0)
    assert (elbo <= LOG_Z + 1e-6).all()
    torch.testing.assert_close(mu, MEAN, atol=0.01, rtol=0)
    conditional = (COV[1, 1] - COV[0, 1] ** 2 / COV[0, 0]).sqrt()  # of z2 given z1
    torch.testing.assert_close(sd, torch.stack([COV[0, 0].sqrt(), conditional]).expand(2, 2), atol=0.01, rtol=0)


def test_the_best_diagonal_gaussian_has_the_known_kl_and_precisions(grids):
    """Mean field on a Gaussian: same mean, variances 1 / precision_ii (Bishop, eq. 10.15), KL -log(1 - rho^2) / 2."""
    elbo, mu, sd = best_gaussian(grids, num_steps=600)
    rho_squared = float(COV[0, 1] ** 2 / (COV[0, 0] * COV[1, 1]))
    torch.testing.assert_close(
        LOG_Z - elbo, torch.full((2,), -0.5 * math.log(1 - rho_squared)).double(), atol=2e-4, rtol=0
    )
    torch.testing.assert_close(mu, MEAN, atol=0.01, rtol=0)
    torch.testing.assert_close(sd, torch.linalg.inv(COV).diagonal().rsqrt().expand(2, 2), atol=0.01, rtol=0)


def test_of_two_modes_the_heavier_wins():
    class TwoModes(GaussianPosterior):
        def log_joint(self, x, z):
            weights = torch.tensor([0.3, 0.7], dtype=torch.float64).log()
            modes = torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
            each = torch.distributions.MultivariateNormal(modes, 0.04 * torch.eye(2, dtype=torch.float64))
            return torch.logsumexp(weights + each.log_prob(z.unsqueeze(-2)), -1)

    elbo, mu, _ = best_gaussian(local_grids(TwoModes(), torch.zeros(1, 1).double(), SHARED, UNIT), num_steps=600)
    assert float(mu[0, 0]) == pytest.approx(2.0, abs=0.05)
    assert float(elbo) == pytest.approx(math.log(0.7), abs=0.02)


def test_a_vae_integrates_to_the_same_on_local_and_shared_grids():
    torch.manual_seed(0)
    model = VAE(MLPEncoder(6, 9, 2), MLPDecoder(2, 9, 6), 2).double()
    for parameter in model.decoder.parameters():
        parameter.data *= 3
    x = torch.bernoulli(torch.full((25, 6), 0.5, dtype=torch.float64), generator=torch.Generator().manual_seed(1))
    grids = local_grids(model, x, SHARED, UNIT)
    torch.testing.assert_close(
        grids.log_evidence, log_evidence(model.grid_log_joint(SHARED), x, 0.1), atol=1e-3, rtol=0
    )


def test_svi_climbs_to_the_mean_field_optimum():
    """Same mean, variances 1 / precision_ii, KL -log(1 - rho^2) / 2; the bounds are those of the steps."""
    start, images = torch.zeros(2, 2).double(), torch.tensor([[0.0], [1.0]])
    settings = {"num_steps": 800, "num_samples": 64, "lr": 0.05, "generator": torch.Generator().manual_seed(0)}
    mu, log_var, bounds = svi(GaussianPosterior(), images, start, start, **settings)
    torch.testing.assert_close(mu, MEAN, atol=0.03, rtol=0)
    torch.testing.assert_close(log_var.exp(), 1 / torch.linalg.inv(COV).diagonal().expand(2, 2), atol=0.01, rtol=0)
    rho_squared = float(COV[0, 1] ** 2 / (COV[0, 0] * COV[1, 1]))
    best = LOG_Z + 0.5 * math.log(1 - rho_squared)
    assert bounds.shape == (800, 2)
    torch.testing.assert_close(bounds[-200:].mean(0), best, atol=0.02, rtol=0)
    assert (bounds[:5].mean(0) < best - 0.5).all()
    assert (start == 0).all()
