"""The banana: data with the course's statistics, a log-joint that is the full likelihood's, and the exact evidence."""

import math

import pytest
import torch

from dgm_helpers.data.banana import BANANA_MEAN, BANANA_STD, banana_data, banana_draws, banana_log_joint
from dgm_helpers.probability.densities import log_normal, log_standard_normal
from dgm_helpers.probability.quadrature import grid_2d, log_integral, moments

EVIDENCE = -208.94293  # of the course's data, by quadrature elsewhere


def test_data_have_exactly_the_statistics_of_the_course():
    y = banana_data()
    assert y.shape == (100,)
    assert y.dtype == torch.float64
    assert float(y.mean()) == pytest.approx(1.1179132108624679, abs=1e-14)
    assert float(y.std(correction=0)) == pytest.approx(1.9120406866588326, abs=1e-14)
    assert torch.equal(y, banana_data())
    assert not torch.equal(y, banana_data(seed=1))


def test_data_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    banana_data()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 1])
def test_log_joint_is_the_sum_over_all_observations(seed):
    """Whatever the draws: only n, mean and deviation matter, constants included."""
    theta = 3 * torch.randn(4, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    m = (theta[..., :1] + theta[..., 1:] ** 2).unsqueeze(-1)  # (4, 5, 1, 1), against y (100, 1)
    y = banana_data(seed).unsqueeze(-1)
    full = log_normal(y, m, torch.tensor([math.log(4.0)], dtype=torch.float64)).sum(-1) + log_standard_normal(theta)
    torch.testing.assert_close(banana_log_joint(theta), full, rtol=1e-12, atol=0)


def test_evidence_and_moments_by_quadrature():
    grid = grid_2d((-8, -4), (4, 4), 0.02, dtype=torch.float64)
    log_joint = banana_log_joint(grid)
    assert float(log_integral(log_joint, 0.02)) == pytest.approx(EVIDENCE, abs=1e-5)
    mean, cov = moments(log_joint, grid)
    torch.testing.assert_close(mean, torch.tensor([0.4066, 0.0], dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(cov.diag(), torch.tensor([0.4568, 0.6950], dtype=torch.float64), atol=1e-4, rtol=0)


def test_evidence_by_one_dimensional_quadrature():
    """The sample mean is sufficient: p(y) = p(y | mean) p(mean), and the mean is N(theta_1 + theta_2^2, 4 / 100)."""
    theta_2 = torch.arange(-6, 6, 1e-3, dtype=torch.float64)
    log_f = log_normal(
        torch.tensor([BANANA_MEAN]), theta_2.square()[:, None], torch.tensor([math.log(1.04)], dtype=torch.float64)
    ) + log_standard_normal(theta_2[:, None])
    log_p_mean = torch.logsumexp(log_f, 0) + math.log(1e-3)
    # y given its mean: the normal density on the residuals' 99-dimensional subspace, and sqrt(n) from the rotation
    log_rest = -0.5 * 99 * math.log(2 * math.pi * 4) - 100 * BANANA_STD**2 / 8 - 0.5 * math.log(100)
    assert float(log_p_mean) + log_rest == pytest.approx(EVIDENCE, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_gradient_and_symmetry(dtype):
    theta = torch.randn(6, 2, dtype=dtype, requires_grad=True)
    value = banana_log_joint(theta)
    assert value.dtype == dtype
    torch.testing.assert_close(value, banana_log_joint(theta * torch.tensor([1.0, -1.0], dtype=dtype)))
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    theta_1, theta_2 = theta.detach().double().unbind(-1)
    residual = 25 * (BANANA_MEAN - theta_1 - theta_2**2)
    expected = torch.stack((residual - theta_1, 2 * theta_2 * residual - theta_2), -1)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (), (2, 1)])
def test_another_last_axis_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected theta of shape \(\.\.\., 2\), got"):
        banana_log_joint(torch.zeros(shape))


def test_exact_draws_have_the_moments_of_the_grid():
    n, generator = 200_000, torch.Generator().manual_seed(0)
    draws = banana_draws(n, generator=generator)
    assert draws.shape == (n, 2)
    assert draws.dtype == torch.float64
    grid = grid_2d((-8, -4), (4, 4), 0.02, dtype=torch.float64)
    mean, cov = moments(banana_log_joint(grid), grid)
    values = torch.cat((draws, (draws - mean) ** 2, draws[:, :1] * draws[:, 1:] ** 2), 1)
    third = (torch.softmax(banana_log_joint(grid).flatten(), 0) * (grid[..., 0] * grid[..., 1] ** 2).flatten()).sum()
    exact = torch.stack((*mean, *cov.diag(), third))
    assert ((values.mean(0) - exact).abs() < 4.5 * values.std(0) / n**0.5).all()
    assert torch.equal(draws, banana_draws(n, generator=generator.manual_seed(0)))
