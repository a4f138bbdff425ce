"""kl_knn against a direct count of neighbours, and Gaussians of known KL over repeated runs."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from dgm_helpers.probability.divergences import kl_knn


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [5.0]])
    # nearest other x: 1, 1, 2; nearest y: 1/2, 1/2, 2
    assert kl_knn(x, y, k=1) == pytest.approx(math.log(0.5 * 0.5 * 1) / 3 + math.log(2 / 2))
    # second other x: 3, 2, 3; second y: 5, 4, 2.5
    assert kl_knn(x, y, k=2) == pytest.approx(math.log(5 / 3 * 4 / 2 * 2.5 / 3) / 3)


@pytest.mark.parametrize("dim", [3, 12])  # by a tree, and by comparing all
@pytest.mark.parametrize("k", [1, 3, 7])
def test_equals_all_pairs(k, dim):
    x, y = normal(600, dim, seed=1), 1.5 * normal(450, dim, seed=2) + 0.3
    exactly = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    rho = torch.cdist(x, x, **exactly).sort(1).values[:, k]
    nu = torch.cdist(x, y, **exactly).sort(1).values[:, k - 1]
    expected = dim * (nu / rho).log().mean() + math.log(450 / 599)
    assert kl_knn(x, y, k=k) == pytest.approx(expected.item(), rel=1e-9)


def estimates(sample_x, sample_y, runs=24, n=4000, m=4000, k=3):
    """Mean over independent runs, and its standard error."""
    values = torch.tensor(
        [kl_knn(sample_x(normal(n, 2, seed=2 * r)), sample_y(normal(m, 2, seed=2 * r + 1)), k=k) for r in range(runs)]
    )
    return values.mean().item(), (values.std() / runs**0.5).item()


# bias falls slowly with n; 0.02 nats holds for it at n = 4000 in two dimensions, here and in every case below
BIAS = 0.02


@pytest.mark.parametrize("k", [1, 3, 10])
def test_gaussians_of_known_kl(k):
    scale, shift = torch.tensor([1.5, 2.0], dtype=torch.float64), torch.tensor([0.5, -0.3], dtype=torch.float64)
    exact = kl_divergence(Normal(0.0, 1.0), Normal(shift, scale)).sum().item()
    mean, error = estimates(lambda e: e, lambda e: shift + scale * e, k=k)
    assert 0.4 < exact < 0.8
    assert abs(mean - exact) < BIAS + 4 * error
    assert error < 0.01


def test_correlated_gaussians_and_unequal_sizes():
    covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    exact = kl_divergence(MultivariateNormal(zero, covariance), MultivariateNormal(zero, torch.eye(2).double())).item()
    factor = torch.linalg.cholesky(covariance)
    mean, error = estimates(lambda e: e @ factor.T, lambda e: e, n=3000, m=6000)
    assert abs(mean - exact) < BIAS + 4 * error


def test_direction_matters():
    narrow, wide = 0.5 * normal(4000, 2, seed=3), normal(4000, 2, seed=4)
    forward = kl_divergence(Normal(0.0, 0.5), Normal(0.0, 1.0)).item() * 2
    backward = kl_divergence(Normal(0.0, 1.0), Normal(0.0, 0.5)).item() * 2
    assert kl_knn(narrow, wide) == pytest.approx(forward, abs=0.1)
    assert kl_knn(wide, narrow) > forward + 0.2  # far below the exact 1.61: wide has draws where narrow has none
    assert kl_knn(wide, narrow) < backward


def test_the_same_law_gives_zero():
    mean, error = estimates(lambda e: e, lambda e: e)
    assert abs(mean) < 0.005 + 4 * error


def test_unchanged_by_a_common_rigid_motion_and_scaling():
    x, y = normal(300, 2, seed=5), 2 * normal(200, 2, seed=6)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    assert kl_knn(10 * x @ turn + 3, 10 * y @ turn + 3) == pytest.approx(kl_knn(x, y), abs=1e-9)


def test_float32_and_arrays_are_taken():
    x, y = normal(100, 2, seed=7).float(), normal(100, 2, seed=8).float()
    assert kl_knn(x.numpy(), y.numpy()) == kl_knn(x, y) == kl_knn(x.double(), y.double())


@pytest.mark.parametrize(
    ("x", "y", "k", "words"),
    [
        (torch.zeros(5), torch.zeros(5), 1, r"got x \(5,\), y \(5,\)"),
        (torch.zeros(5, 2), torch.zeros(5, 3), 1, r"one D >= 1, got x \(5, 2\), y \(5, 3\)"),
        (torch.zeros(5, 0), torch.zeros(5, 0), 1, "one D >= 1"),
        (normal(5, 2), normal(5, 2), 0, "k >= 1, got 0"),
        (normal(5, 2), normal(5, 2), 1.5, "k >= 1, got 1.5"),
        (normal(3, 2), normal(9, 2), 3, r"more than k points x .* k=3 with x \(3, 2\), y \(9, 2\)"),
        (normal(9, 2), normal(2, 2), 3, r"at least k points y, got k=3 with x \(9, 2\), y \(2, 2\)"),
        (normal(1, 2), normal(9, 2), 1, "more than k points x"),
        (torch.full((5, 2), math.nan), normal(5, 2), 1, "finite points, got 5 others in x"),
        (normal(5, 2), torch.tensor([[math.inf, 0.0]] * 5), 1, "finite points, got 5 others in y"),
        (normal(5, 2).repeat(2, 1), normal(9, 2, seed=1), 1, "distinct points, got 10 of x .* neighbour 1 in x"),
        (normal(5, 2), normal(5, 2), 1, "distinct points, got 5 of x .* neighbour 1 in y"),
    ],
)
def test_bad_input_is_named(x, y, k, words):
    with pytest.raises(ValueError, match=words):
        kl_knn(x, y, k=k)


def test_a_few_duplicates_below_k_are_allowed():
    x = normal(50, 2, seed=9)
    x = torch.cat([x, x[:1]])  # one point twice: only its nearest is at distance 0
    assert math.isfinite(kl_knn(x, normal(50, 2, seed=10), k=3))
    with pytest.raises(ValueError, match="got 2 of x"):
        kl_knn(x, normal(50, 2, seed=10), k=1)
