"""Densities against torch.distributions, against their integrals, and at extreme arguments."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from dgm_helpers.probability import densities
from dgm_helpers.probability.densities import (
    kl_normal,
    kl_standard_normal,
    log_bernoulli,
    log_mean_exp,
    log_normal,
    log_standard_normal,
    sample_bernoulli,
    sample_normal,
)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def torch_normal(mu, log_var):
    return Independent(Normal(mu, (0.5 * log_var).exp()), 1)


def test_log_normal_equals_torch_with_broadcasting():
    x, mu, log_var = random(7, 1, 5), random(3, 5, seed=1), random(5, seed=2)
    ours = log_normal(x, mu, log_var)
    assert ours.shape == (7, 3)
    torch.testing.assert_close(ours, torch_normal(mu, log_var.expand(3, 5)).log_prob(x))


def test_log_normal_sums_over_an_axis_that_only_the_parameters_have():
    x, mu = random(4, 1), random(5, seed=1)
    torch.testing.assert_close(
        log_normal(x, mu, torch.zeros(5)), torch_normal(mu, torch.zeros(5)).log_prob(x.expand(4, 5))
    )


def test_log_normal_integrates_to_one():
    x = torch.linspace(-40, 40, 200_001, dtype=torch.float64).unsqueeze(1)
    mass = log_normal(x, torch.tensor([1.5]), torch.tensor([0.7])).exp().sum() * (x[1] - x[0])
    torch.testing.assert_close(mass, torch.ones(1, dtype=torch.float64))


def test_log_standard_normal_is_log_normal_at_zero_and_one():
    z = random(6, 16)
    torch.testing.assert_close(log_standard_normal(z), log_normal(z, torch.zeros(16), torch.zeros(16)))
    torch.testing.assert_close(log_standard_normal(torch.zeros(16)), torch.tensor(-8 * math.log(2 * math.pi)))


@pytest.mark.parametrize("log_var", [-80.0, 80.0])
def test_log_normal_stays_finite_at_extreme_variances(log_var):
    value = log_normal(torch.zeros(3), torch.zeros(3), torch.full((3,), log_var))
    torch.testing.assert_close(value, torch.tensor(-1.5 * (math.log(2 * math.pi) + log_var)))


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_log_bernoulli_equals_torch_even_at_extreme_logits(scale):
    logits = scale * random(50, 4)
    x = (random(50, 4, seed=1) > 0).double()
    ours = log_bernoulli(x, logits)
    assert torch.isfinite(ours).all()
    torch.testing.assert_close(ours, Independent(Bernoulli(logits=logits), 1).log_prob(x), rtol=1e-12, atol=1e-12)


def test_log_bernoulli_keeps_its_tail_in_double_precision():
    """At logit 25 the probability of a 0 is e^-25: torch's default softplus returns 25 there and loses 1 - p."""
    surprise = log_bernoulli(torch.ones(1, dtype=torch.float64), torch.tensor([25.0], dtype=torch.float64))
    assert float(surprise) == pytest.approx(-math.log1p(math.exp(-25)), rel=1e-3)


def test_log_bernoulli_sums_to_one_over_all_binary_vectors():
    logits = 3 * random(6)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    torch.testing.assert_close(log_bernoulli(every, logits).exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_kl_normal_equals_torch():
    mu_q, log_var_q, mu_p, log_var_p = (random(8, 5, seed=s) for s in range(4))
    expected = kl_divergence(torch_normal(mu_q, log_var_q), torch_normal(mu_p, log_var_p))
    torch.testing.assert_close(kl_normal(mu_q, log_var_q, mu_p, log_var_p), expected)
    assert (kl_normal(mu_q, log_var_q, mu_q, log_var_q) == 0).all()


def test_kl_standard_normal_is_the_general_one_at_zero_and_one():
    mu, log_var = random(8, 5), random(8, 5, seed=1)
    expected = kl_normal(mu, log_var, torch.zeros(5), torch.zeros(5))
    torch.testing.assert_close(kl_standard_normal(mu, log_var), expected)
    assert (kl_standard_normal(torch.zeros(2, 5), torch.zeros(2, 5)) == 0).all()


def test_sample_normal_has_the_right_moments_and_gradient():
    mu, log_var = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0], requires_grad=True)
    n = 200_000
    draws = sample_normal(mu.expand(n, 2), log_var, generator=torch.Generator().manual_seed(0))
    variance = log_var.detach().exp()
    assert ((draws.mean(0) - mu).abs() < 4 * (variance / n).sqrt()).all()
    assert ((draws.var(0) - variance).abs() < 4 * variance * math.sqrt(2 / n)).all()
    draws.sum().backward()  # d z / d log_var = sigma epsilon / 2 = (z - mu) / 2
    torch.testing.assert_close(log_var.grad, 0.5 * (draws.detach() - mu).sum(0), rtol=1e-3, atol=1e-1)


def test_sample_bernoulli_has_the_right_mean_and_only_bits():
    logits, n = torch.tensor([-2.0, 0.0, 3.0]), 100_000
    draws = sample_bernoulli(logits.expand(n, 3), generator=torch.Generator().manual_seed(0))
    p = torch.sigmoid(logits)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert ((draws.mean(0) - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_samplers_repeat_with_the_same_generator():
    for sampler in (lambda g: sample_normal(torch.zeros(4), torch.zeros(4), generator=g),
                    lambda g: sample_bernoulli(torch.zeros(40), generator=g)):  # fmt: skip
        one, two, other = (sampler(torch.Generator().manual_seed(s)) for s in (0, 0, 1))
        assert torch.equal(one, two)
        assert not torch.equal(one, other)


def test_log_mean_exp_is_stable_and_exact():
    x = random(5, 7)
    torch.testing.assert_close(log_mean_exp(x, 0), x.exp().mean(0).log())
    torch.testing.assert_close(log_mean_exp(x - 2000, 1), log_mean_exp(x, 1) - 2000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_input_is_kept(dtype):
    a, b = random(3, 2, dtype=dtype), random(3, 2, seed=1, dtype=dtype)
    values = [log_normal(a, b, b), log_standard_normal(a), log_bernoulli((a > 0).to(dtype), b), kl_normal(a, b, b, a),
              kl_standard_normal(a, b), sample_normal(a, b), sample_bernoulli(a)]  # fmt: skip
    assert {v.dtype for v in values} == {dtype}


@pytest.mark.parametrize(
    "call",
    [
        lambda: log_normal(torch.zeros(3, 2), torch.zeros(3), torch.zeros(2)),
        lambda: log_bernoulli(torch.zeros(4, 784), torch.zeros(4, 28)),
        lambda: kl_normal(torch.zeros(2), torch.zeros(2), torch.zeros(3), torch.zeros(3)),
        lambda: sample_normal(torch.zeros(2), torch.zeros(3)),
    ],
)
def test_shapes_that_do_not_fit_are_named(call):
    with pytest.raises(ValueError, match=r"expected shapes .* got .*\(\d"):
        call()


def test_a_scalar_has_no_axis_to_sum_over():
    with pytest.raises(ValueError, match="last axis"):
        log_standard_normal(torch.tensor(0.0))


def test_library_code_never_seeds():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    sample_normal(torch.zeros(3), torch.zeros(3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "manual_seed" not in Path(densities.__file__).read_text()
