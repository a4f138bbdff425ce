"""Gradient estimators on quadratics, where the gradient and every variance are known."""

import math

import pytest
import torch

from dgm_helpers.probability.densities import log_normal
from dgm_helpers.vae.gradients import mean_of_others, reparameterised, score_function

MU, LOG_VAR = torch.tensor([0.4, -1.0, 0.2]).double(), torch.tensor([-0.5, 0.3, -2.0]).double()
A, C = torch.tensor([1.5, 0.7, 3.0]).double(), torch.tensor([1.0, -0.4, 0.0]).double()
VAR, DELTA = LOG_VAR.exp(), MU - C
CONSTANT = 2.0
N = 100_000

# log w = const + sum_i (b_i eps_i + d_i (eps_i^2 - 1)), with
LINEAR, QUADRATIC = -A * DELTA * VAR.sqrt(), 0.5 * (1 - A * VAR)
MEAN = float((-0.5 * A * (DELTA**2 + VAR)).sum() + CONSTANT + 0.5 * (math.log(2 * math.pi) + LOG_VAR + 1).sum())
EXACT = (-A * DELTA, 0.5 - 0.5 * A * VAR)


def log_joint(z):
    return -0.5 * (A * (z - C) ** 2).sum(-1) + CONSTANT


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def path_only(*args, **kwargs):
    return reparameterised(*args, path_only=True, **kwargs)


def loo(*args, **kwargs):
    return score_function(*args, leave_one_out=True, **kwargs)


def variances(kind):
    """Exact variances of one draw's estimate in mu and in log_var."""
    b, d = LINEAR, QUADRATIC
    if kind is reparameterised:
        return A**2 * VAR, 0.25 * VAR * A**2 * (DELTA**2 + 2 * VAR)
    if kind is path_only:  # d log w / dz = (b + 2 d eps) / sigma
        return 4 * d**2 / VAR, 0.25 * (b**2 + 8 * d**2)
    # value times score, with value = MEAN + b eps + d (eps^2 - 1) + the other dimensions' part of variance `others`
    own = b**2 + 2 * d**2
    others = own.sum() - own
    square_mu = MEAN**2 + 4 * MEAN * d + 3 * b**2 + 10 * d**2 + others  # E[value^2 eps^2]
    # with u = eps^2 - 1: E[u^2] = 2, E[u^3] = 8, E[u^4] = 60, E[eps^2 u^2] = 10
    square_log_var = 2 * MEAN**2 + 16 * MEAN * d + 10 * b**2 + 60 * d**2 + 2 * others
    return square_mu / VAR - EXACT[0] ** 2, 0.25 * square_log_var - EXACT[1] ** 2


def test_the_exact_gradient_is_that_of_the_bound():
    mu, log_var = MU.clone().requires_grad_(), LOG_VAR.clone().requires_grad_()
    bound = (-0.5 * A * ((mu - C) ** 2 + log_var.exp())).sum() + CONSTANT
    bound = bound + 0.5 * (math.log(2 * math.pi) + 1 + log_var).sum()
    for exact, by_autograd in zip(EXACT, torch.autograd.grad(bound, (mu, log_var)), strict=True):
        torch.testing.assert_close(exact, by_autograd)
    assert float(bound.detach()) == pytest.approx(MEAN)


@pytest.mark.parametrize("kind", [reparameterised, path_only, score_function], ids=lambda kind: kind.__name__)
def test_unbiased_with_the_known_variance(kind):
    for draws, exact, variance in zip(
        kind(log_joint, MU, LOG_VAR, N, generator=seeded()), EXACT, variances(kind), strict=True
    ):
        assert draws.shape == (N, 3)
        assert ((draws.mean(0) - exact).abs() < 4 * (variance / N).sqrt()).all()
        squares = (draws - exact) ** 2  # their mean is the variance, their spread its error
        assert ((squares.mean(0) - variance).abs() < 4.5 * squares.std(0) / N**0.5 + 1e-12).all()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_leave_one_out_is_unbiased_with_the_variance_of_a_sample_covariance(count):
    """Its mean over M draws is the sample covariance of value and score."""
    repetitions = N // count
    estimates = loo(log_joint, MU, LOG_VAR, (repetitions, count), generator=seeded(1)).mu.mean(1)
    own = LINEAR**2 + 2 * QUADRATIC**2
    joint = (3 * LINEAR**2 + 10 * QUADRATIC**2 + own.sum() - own) / VAR  # E[(value - mean)^2 score^2]
    squared = EXACT[0] ** 2
    variance = (joint - (count - 2) / (count - 1) * squared + own.sum() / VAR / (count - 1)) / count
    assert ((estimates.mean(0) - EXACT[0]).abs() < 4 * (variance / repetitions).sqrt()).all()
    squares = (estimates - EXACT[0]) ** 2
    assert ((squares.mean(0) - variance).abs() < 4.5 * squares.std(0) / repetitions**0.5).all()
    assert (variance < variances(score_function)[0] / count).all()  # of use here: the values are far from zero


def test_subtracting_the_mean_of_all_shrinks_the_gradient():
    """The same draws with their own value in the mean: exactly (M - 1) / M of the leave-one-out estimate."""
    plain = score_function(log_joint, MU, LOG_VAR, (50, 4), generator=seeded(2))
    left_out = loo(log_joint, MU, LOG_VAR, (50, 4), generator=seeded(2))
    z = MU + LOG_VAR.mul(0.5).exp() * torch.randn(50, 4, 3, generator=seeded(2), dtype=torch.float64)
    value, score = log_joint(z) - log_normal(z, MU, LOG_VAR), (z - MU) / VAR
    torch.testing.assert_close(plain.mu, value.unsqueeze(-1) * score)
    centred = (value - value.mean(1, keepdim=True)).unsqueeze(-1) * score
    torch.testing.assert_close(centred.mean(1), 0.75 * left_out.mu.mean(1))


def test_at_the_posterior_two_estimators_have_no_noise_and_two_do():
    def posterior(z):
        return log_normal(z, MU, LOG_VAR) - 700.0

    for kind, noise in ((path_only, False), (loo, False), (reparameterised, True), (score_function, True)):
        for draws in kind(posterior, MU, LOG_VAR, (6, 5), generator=seeded()):
            assert bool((draws.abs() > 1e-9).all()) is noise


def test_autograd_through_the_sampler_gives_the_reparameterised_gradient():
    mu, log_var = MU.clone().requires_grad_(), LOG_VAR.clone().requires_grad_()
    epsilon = torch.randn(7, 3, generator=seeded(), dtype=torch.float64)
    z = mu + torch.exp(0.5 * log_var) * epsilon
    (torch.tanh(z).prod(-1) - log_normal(z, mu, log_var)).mean().backward()
    found = reparameterised(lambda z: torch.tanh(z).prod(-1), mu, log_var, 7, generator=seeded())
    torch.testing.assert_close(found.mu.mean(0), mu.grad)
    torch.testing.assert_close(found.log_var.mean(0), log_var.grad)
    assert not found.mu.requires_grad


def test_it_works_where_gradients_are_off_and_repeats_with_its_generator():
    with torch.no_grad():
        one = reparameterised(log_joint, MU, LOG_VAR, (2, 3), generator=seeded(5))
    two = reparameterised(log_joint, MU, LOG_VAR, (2, 3), generator=seeded(5))
    assert one.mu.shape == one.log_var.shape == (2, 3, 3)
    assert torch.equal(one.mu, two.mu)
    assert one.mu.dtype == torch.float64


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"one shape \(D,\), got \(3,\) and \(2,\)"):
        reparameterised(log_joint, MU, LOG_VAR[:2], 5)
    with pytest.raises(ValueError, match=r"one shape \(D,\), got \(1, 3\)"):
        score_function(log_joint, MU[None], LOG_VAR[None], 5)
    with pytest.raises(ValueError, match=r"map \(5, 3\) to \(5,\), got \(5, 3\)"):
        score_function(lambda z: z, MU, LOG_VAR, 5)
    with pytest.raises(ValueError, match=r"map \(5, 3\) to \(5,\), got \(\)"):
        reparameterised(lambda z: z.sum(), MU, LOG_VAR, 5)
    with pytest.raises(ValueError, match=r"at least two draws .* got \(4, 1\)"):
        score_function(log_joint, MU, LOG_VAR, (4, 1), leave_one_out=True)
    torch.testing.assert_close(mean_of_others(torch.tensor([1.0, 2.0, 6.0])), torch.tensor([4.0, 3.5, 1.5]))
