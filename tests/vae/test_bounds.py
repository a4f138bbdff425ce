"""Bounds on a linear-Gaussian model, whose log p(x) is exact."""

import math

import pytest
import torch

from dgm_helpers.probability.densities import log_normal
from dgm_helpers.vae.bounds import effective_sample_size, elbo, iwae, normalised_weights


def linear_gaussian(num_samples, num_examples, q_mean_shift=0.0, q_log_var_shift=0.0):
    """z ~ N(0, 1), x | z ~ N(z, 1): p(x) = N(0, 2), posterior N(x / 2, 1 / 2). Returns log_w (K, B), log p(x) (B,)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_examples, 1, generator=generator, dtype=torch.float64) * math.sqrt(2)
    mu, log_var = x / 2 + q_mean_shift, torch.tensor([math.log(0.5) + q_log_var_shift], dtype=torch.float64)
    z = mu + (0.5 * log_var).exp() * torch.randn(num_samples, num_examples, 1, generator=generator, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    log_w = log_normal(z, zero, zero) + log_normal(x, z, zero) - log_normal(z, mu, log_var)
    return log_w, log_normal(x, zero, zero + math.log(2))


def test_all_bounds_are_exact_when_q_is_the_posterior():
    log_w, exact = linear_gaussian(5, 20)
    torch.testing.assert_close(elbo(log_w), exact)
    torch.testing.assert_close(iwae(log_w), exact)
    torch.testing.assert_close(effective_sample_size(log_w), torch.full((20,), 5.0, dtype=torch.float64))


def test_elbo_falls_short_by_the_kl():
    """KL(N(m + s, v e^t) || N(m, v)) in closed form, against the Monte Carlo mean within 4 standard errors."""
    shift, t = 0.4, 0.3
    log_w, exact = linear_gaussian(100_000, 4, shift, t)
    kl = 0.5 * (math.exp(t) - 1 - t + shift**2 / 0.5)
    error = log_w.std(0) / math.sqrt(len(log_w))
    assert ((exact - elbo(log_w) - kl).abs() < 4 * error).all()


def test_iwae_is_consistent_and_above_the_elbo():
    log_w, exact = linear_gaussian(100_000, 4, 0.4, 0.3)
    relative = (log_w - exact).exp().std(0) / math.sqrt(len(log_w))  # the delta method
    assert ((iwae(log_w) - exact).abs() < 4 * relative).all()
    assert (iwae(log_w) > elbo(log_w)).all()


def test_iwae_is_a_lower_bound_in_the_mean_and_rises_with_the_number_of_draws():
    log_w, exact = linear_gaussian(64, 20_000, 0.6, 0.5)
    gaps = []
    for k in (1, 4, 16, 64):
        gap = exact - iwae(log_w[:k])
        gaps.append(float(gap.mean()))
        assert gap.mean() > 4 * gap.std() / math.sqrt(gap.numel())
    assert gaps == sorted(gaps, reverse=True)


def test_one_draw_makes_the_two_bounds_equal():
    log_w, _ = linear_gaussian(1, 10, 1.0)
    torch.testing.assert_close(iwae(log_w), elbo(log_w))


def test_log_weights_of_minus_two_thousand_stay_finite():
    log_w = torch.tensor([[-2000.0], [-2001.0]])
    assert float(iwae(log_w)) == pytest.approx(-2000 + math.log((1 + math.exp(-1)) / 2), abs=2e-4)
    assert float(effective_sample_size(log_w)) == pytest.approx((1 + math.exp(-1)) ** 2 / (1 + math.exp(-2)), rel=1e-3)


def test_effective_sample_size_of_one_dominant_weight_is_one():
    assert float(effective_sample_size(torch.tensor([[0.0], [-500.0], [-600.0]]))) == pytest.approx(1.0)


def test_normalised_weights_are_the_softmax_over_draws_and_carry_no_gradient():
    log_w = torch.tensor([[-2000.0, 0.0], [-2001.0, 0.0]], requires_grad=True)
    weights = normalised_weights(log_w)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    assert float(weights[0, 0] / weights[1, 0]) == pytest.approx(math.e, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (0, 3), (2, 3, 4)])
@pytest.mark.parametrize("bound", [elbo, iwae, effective_sample_size, normalised_weights])
def test_a_wrong_shape_is_named(bound, shape):
    with pytest.raises(ValueError, match=r"expected log_w of shape \(K, B\).*got"):
        bound(torch.zeros(shape))
