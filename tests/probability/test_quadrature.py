"""The grid against functions of known mass and moments."""

import math

import pytest
import torch

from dgm_helpers.probability.densities import log_normal, log_standard_normal
from dgm_helpers.probability.quadrature import grid_2d, log_evidence, log_integral, mass_levels, moments

MU, LOG_VAR = torch.tensor([0.3, -0.5], dtype=torch.float64), torch.tensor([0.2, -0.4], dtype=torch.float64)


def gaussian_on_grid(spacing=0.1, limit=9.0):
    points = grid_2d(-limit, limit, spacing, dtype=torch.float64)
    return points, log_normal(points, MU, LOG_VAR)


def test_a_density_integrates_to_one():
    _, log_f = gaussian_on_grid()
    assert abs(float(log_integral(log_f, 0.1))) < 1e-12


def test_a_function_that_is_no_density_integrates_to_its_mass():
    """exp(-|z1| - |z2|) has mass 4; its kink at 0, on a grid point, leaves the trapezoidal error h^2 / 12 per axis."""
    points = grid_2d(-40, 40, 0.1, dtype=torch.float64)
    mass = math.exp(float(log_integral(-points.abs().sum(-1), 0.1)))
    assert mass == pytest.approx(4 * (1 + 0.01 / 12) ** 2, rel=1e-6)


def test_adding_a_huge_constant_changes_nothing_else():
    points, log_f = gaussian_on_grid()
    assert float(log_integral(log_f - 1e4, 0.1)) == pytest.approx(-1e4, abs=1e-8)
    for one, other in zip(moments(log_f, points), moments(log_f - 1e4, points), strict=True):
        torch.testing.assert_close(one, other)


def test_moments_of_a_gaussian():
    points, log_f = gaussian_on_grid()
    mean, cov = moments(log_f, points)
    torch.testing.assert_close(mean, MU)
    torch.testing.assert_close(cov, LOG_VAR.exp().diag())


def test_moments_see_a_correlation_and_keep_batch_axes():
    points = grid_2d(-9, 9, 0.1, dtype=torch.float64)
    precision = torch.tensor([[1.0, -0.6], [-0.6, 1.0]], dtype=torch.float64)
    log_f = -0.5 * torch.einsum("abi,ij,abj->ab", points, precision, points)
    mean, cov = moments(torch.stack([log_f, log_f]), points)
    assert mean.shape == (2, 2)
    torch.testing.assert_close(cov[1], precision.inverse())


def test_grid_orientation_size_and_ends():
    points = grid_2d((0, 10), (1, 12), 0.5)
    assert points.shape == (3, 5, 2)
    assert points[2, 0].tolist() == [1.0, 10.0]  # the first index moves the first coordinate
    assert points[0, 4].tolist() == [0.0, 12.0]
    assert grid_2d(-6, 6, 0.05).shape == (241, 241, 2)  # 0.05 is no binary fraction
    assert float(grid_2d(-6, 6, 0.1)[-1, -1, 0]) == pytest.approx(6.0)


@pytest.mark.parametrize("arguments", [(1, 0, 0.1), (0, 1, 0), (0, 1, -0.1), ((0, 0), (1, -1), 0.1)])
def test_an_impossible_grid_is_refused(arguments):
    with pytest.raises(ValueError, match="expected lower < upper and spacing > 0"):
        grid_2d(*arguments)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(\.\.\., n1, n2\), got \(5,\)"):
        log_integral(torch.zeros(5), 0.1)
    with pytest.raises(ValueError, match=r"on the grid \(3, 3\), got \(\.\.\., \(4, 4\)\)"):
        moments(torch.zeros(4, 4), torch.zeros(3, 3, 2))


def test_log_evidence_in_batches_is_the_integral_of_each():
    points = grid_2d(-9, 9, 0.1, dtype=torch.float64)
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def log_joint(batch):  # z ~ N(0, I), x | z ~ N(z, I), so x ~ N(0, 2 I)
        zero = torch.zeros(2, dtype=torch.float64)
        return log_normal(points, zero, zero) + log_normal(batch[:, None, None], points, zero)

    exact = log_normal(x, torch.zeros(2), torch.full((2,), math.log(2)))
    torch.testing.assert_close(log_evidence(log_joint, x, 0.1, batch_size=3), exact)


def test_levels_hold_their_masses_of_a_gaussian():
    grid = grid_2d(-7, 7, 0.02, dtype=torch.float64)
    levels = mass_levels(log_standard_normal(grid) + 5, (0.9, 0.5))
    for level, mass in zip(levels, (0.9, 0.5), strict=True):  # the radius of mass m has r^2 / 2 = -log(1 - m)
        assert level == pytest.approx(math.log(1 - mass) - math.log(2 * math.pi) + 5, abs=1e-3)
