"""Bayesian linear regression against scipy's multivariate normal, scikit-learn's Gaussian process, and a grid."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from dgm_helpers.probability.quadrature import grid_2d, log_integral, moments
from dgm_helpers.probability.regression import log_evidence, posterior, posterior_kernel, predictive

NOISE = 0.3


def data(n=7, dim=3, seed=0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*batch, n, dim, generator=generator, dtype=torch.float64)
    return x, torch.randn(*batch, n, generator=generator, dtype=torch.float64)


def test_posterior_is_the_conditional_of_the_joint_gaussian():
    """(theta, y) is Gaussian with cov[theta, y] = X^T and cov[y] = X X^T + noise: condition it with plain inverses."""
    x, y = data()
    inverse = torch.linalg.inv(x @ x.T + NOISE * torch.eye(7, dtype=torch.float64))
    for form in (posterior, posterior_kernel):
        mean, cov = form(x, y, NOISE)
        torch.testing.assert_close(mean, x.T @ inverse @ y, rtol=0, atol=1e-12)
        torch.testing.assert_close(cov, torch.eye(3, dtype=torch.float64) - x.T @ inverse @ x, rtol=0, atol=1e-12)


def test_posterior_and_evidence_by_quadrature():
    x, y = data(n=4, dim=2)
    points = grid_2d(-8, 8, 0.05, dtype=torch.float64)
    log_prior = -0.5 * points.square().sum(-1) - math.log(2 * math.pi)
    likelihood = torch.distributions.Normal(points @ x.T, math.sqrt(NOISE)).log_prob(y).sum(-1)
    mean, cov = moments(log_prior + likelihood, points)
    for form in (posterior, posterior_kernel):
        torch.testing.assert_close(form(x, y, NOISE), (mean, cov), rtol=0, atol=1e-10)
    assert float(log_integral(log_prior + likelihood, 0.05)) == pytest.approx(
        float(log_evidence(x, y, NOISE)), abs=1e-10
    )


def test_predictive_is_that_of_a_gaussian_process_with_the_linear_kernel():
    x, y = data()
    x_new, _ = data(n=5, seed=1)
    process = GaussianProcessRegressor(DotProduct(sigma_0=0, sigma_0_bounds="fixed"), alpha=NOISE, optimizer=None)
    mean, std = process.fit(x.numpy(), y.numpy()).predict(x_new.numpy(), return_std=True)
    for noise in (0.0, NOISE):
        mu, var = predictive(x_new, *posterior(x, y, NOISE), noise)
        torch.testing.assert_close(mu, torch.tensor(mean), rtol=0, atol=1e-10)
        torch.testing.assert_close(var, torch.tensor(std**2) + noise, rtol=0, atol=1e-8)
    assert float(log_evidence(x, y, NOISE)) == pytest.approx(process.log_marginal_likelihood_value_, abs=1e-8)


def test_evidence_is_the_density_of_the_data_and_the_product_of_the_predictives():
    x, y = data()
    exact = multivariate_normal(cov=(x @ x.T).numpy() + NOISE * np.eye(7)).logpdf(y.numpy())
    assert float(log_evidence(x, y, NOISE)) == pytest.approx(exact, abs=1e-10)
    total = 0.0
    for i in range(7):
        mu, var = predictive(x[i], *posterior(x[:i], y[:i], NOISE), NOISE)
        total += float(torch.distributions.Normal(mu, var.sqrt()).log_prob(y[i]))
    assert total == pytest.approx(exact, abs=1e-10)


def test_no_data_leave_the_prior():
    x, y = torch.zeros(0, 2, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    for form in (posterior, posterior_kernel):
        mean, cov = form(x, y, NOISE)
        assert mean.tolist() == [0, 0]
        assert cov.tolist() == [[1, 0], [0, 1]]
    assert float(log_evidence(x, y, NOISE)) == 0


def test_a_batch_is_as_many_single_data_sets():
    x, y = data(batch=(2, 3))
    for form in (posterior, posterior_kernel):
        mean, cov = form(x, y, NOISE)
        assert mean.shape == (2, 3, 3)
        for i in range(2):
            for j in range(3):
                torch.testing.assert_close((mean[i, j], cov[i, j]), form(x[i, j], y[i, j], NOISE), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_evidence(x, y, NOISE)[1, 2], log_evidence(x[1, 2], y[1, 2], NOISE))


@pytest.mark.parametrize("form", [posterior, posterior_kernel, log_evidence])
def test_every_data_set_of_a_batch_may_have_its_own_noise(form):
    x, y = data(batch=(3,))
    noise = [0.1, 0.5, 2.0]
    together = form(x, y, torch.tensor(noise, dtype=torch.float64))
    one_by_one = [form(*of_one) for of_one in zip(x, y, noise, strict=True)]
    for k, single in enumerate(one_by_one):
        for batch, alone in zip(together, single, strict=True) if isinstance(single, tuple) else [(together, single)]:
            torch.testing.assert_close(batch[k], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [posterior, posterior_kernel, log_evidence])
def test_bad_input_is_named(form):
    x, y = data()
    with pytest.raises(ValueError, match=r"got \(7, 3\) and \(6,\)"):
        form(x, y[:6], NOISE)
    with pytest.raises(ValueError, match=r"\(\.\.\., n, D\)"):
        form(y, y, NOISE)
    with pytest.raises(ValueError, match=r"got \(3,\) and \(\)"):
        form(x[0], y[0], NOISE)
    with pytest.raises(ValueError, match="positive noise variance, got 0"):
        form(x, y, 0)
    with pytest.raises(ValueError, match=r"positive noise variance, got tensor\(\[1., 0.\]\)"):
        form(x.expand(2, 7, 3), y.expand(2, 7), torch.tensor([1.0, 0.0]))
