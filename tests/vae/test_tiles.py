"""The sums over occupied tiles, held against those over all points of the grid."""

import pytest
import torch
from torch import nn

from dgm_helpers.probability.quadrature import grid_2d, log_integral, moments
from dgm_helpers.training import read_file, weights_dir
from dgm_helpers.vae.likelihoods import Gaussian
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.tiles import occupied_tiles, posterior_sums

STORED = {"svi_base": (500, nn.Tanh), "vae_extensions_deep": ([200, 200, 200], nn.ReLU)}


PIXELS = 100


class Decoder(nn.Module):
    """Log-odds of 100 pixels that a function of z gives, (..., 2) -> (..., 1) if they are all the same."""

    def __init__(self, log_odds):
        super().__init__()
        self.log_odds = log_odds

    def forward(self, z):
        return self.log_odds(z).expand(*z.shape[:-1], PIXELS)


def bump(z, centre, width):
    return torch.exp(-0.5 * ((z - torch.tensor(centre, dtype=z.dtype)) / width).square().sum(-1, keepdim=True))


def seesaw(z):
    """40 (z1 - 0.1) up to 0.4, then down to 2; half of the pixels want it high and half want it low: it must be 0."""
    rising, falling = 40 * (z[..., :1] - 0.1), 12 - 20 * (z[..., :1] - 0.4).clamp(max=0.5)
    return torch.minimum(rising, falling) * torch.tensor([1.0, -1.0], dtype=z.dtype).repeat(PIXELS // 2)


# corners of tiles are 0.2 apart, and these are tiles' centres: all that is seen of a mode is its foot
NARROW = {
    "one narrow mode between corners": lambda z: 12 * bump(z, (0.9, -1.1), 0.1) - 6,
    "two of them, one higher": lambda z: 12 * bump(z, (2.1, 0.5), 0.1) + 11.9 * bump(z, (-1.5, -2.3), 0.1) - 6,
    "one behind a low and broad one": lambda z: 12 * bump(z, (0.9, -1.1), 0.07) + 3 * bump(z, (-1.0, 1.0), 0.5) - 6,
    "a thin arc": lambda z: 6 - 80 * (z.norm(dim=-1, keepdim=True) - 1.5).abs(),
    "a peak, steep and linear on all sides": lambda z: 6 - 60 * (z - 0.1).abs().sum(-1, keepdim=True),
    "a balance between corners, behind a broad one": seesaw,
}


def agree(model, x, points, atol):
    """The same log p(x), moments and share at the border as by all points of the grid."""
    sums, log_f = posterior_sums(model, x, points), model.grid_log_joint(points)(x)
    rounding = 10 * torch.finfo(x.dtype).eps  # log p(x) of a negative is some thousand nats
    torch.testing.assert_close(sums.log_p, log_integral(log_f, points.spacing), atol=atol, rtol=rounding)
    mean, cov = moments(log_f, points)
    torch.testing.assert_close(sums.mean, mean, atol=10 * atol, rtol=0)
    torch.testing.assert_close(sums.sd, cov.diagonal(dim1=-2, dim2=-1).sqrt(), atol=10 * atol, rtol=1e-3)
    edge = torch.ones(points.shape[:2], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    torch.testing.assert_close(
        sums.border, torch.softmax(log_f.flatten(1), 1)[:, edge.flatten()].sum(1), atol=atol, rtol=0
    )


@pytest.mark.parametrize("name", STORED)
@torch.no_grad()
def test_a_stored_model_has_the_sums_of_the_whole_grid(name):
    """On images of its own, on their negatives, which no z explains, and on noise. Rounding is that of float32."""
    hidden, activation = STORED[name]
    model = VAE.mlp(784, hidden, 2, activation=activation)
    tensors, _, _ = read_file(weights_dir() / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in tensors.items()})
    generator = torch.Generator().manual_seed(0)
    own = model.sample(30, generator=generator)
    noise = torch.bernoulli(torch.full((10, 784), 0.2), generator=generator)
    agree(model, torch.cat([own, 1 - own[:10], noise]), grid_2d(-3, 3, 0.05), atol=1e-3)


@pytest.mark.parametrize("name", NARROW)
@torch.no_grad()
def test_a_narrow_posterior_between_the_corners_is_not_lost(name):
    model = VAE(None, Decoder(NARROW[name]), 2).double()
    x = torch.ones(3, PIXELS, dtype=torch.float64)
    x[1, 0] = x[2, :40] = 0
    agree(model, x, grid_2d(-4, 4, 0.02, dtype=torch.float64), atol=1e-8)


@torch.no_grad()
def test_few_tiles_are_visited_and_no_point_twice():
    """On a grid whose last tiles are cut: 333 steps are no multiple of a tile's."""
    model = VAE(None, Decoder(lambda z: 12 * bump(z, (0.9, -1.1), 0.3) - 6), 2).double()
    points, x = grid_2d(-4.7, 5.3, 0.03, dtype=torch.float64), torch.ones(2, PIXELS, dtype=torch.float64)
    visits = torch.zeros(2, len(points.flatten(0, 1)), dtype=torch.long)
    log_f = model.grid_log_joint(points)(x).flatten(1)
    for rows, index, values in occupied_tiles(model, x, points):
        visits[rows[:, None], index] += 1
        torch.testing.assert_close(values, log_f[rows[:, None], index])
    assert visits.max() == 1
    assert visits.double().mean() < 0.1
    agree(model, x, points, atol=1e-8)


def test_a_grid_is_for_bits():
    model = VAE.mlp(6, 9, 2)
    model.log_likelihood = Gaussian(0.3)
    with pytest.raises(ValueError, match="is for a Bernoulli"):
        posterior_sums(model, torch.zeros(1, 6), grid_2d(-1, 1, 0.5))
