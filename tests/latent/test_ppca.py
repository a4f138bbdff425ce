"""PPCA against the dense Gaussian, scikit-learn, integration, autograd, its own EM and a linear-Gaussian model."""

import math
from itertools import pairwise

import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal

from dgm_helpers.latent import PPCA, em_step_ppca, fit_ppca, mean_log_probs, ppca_of, spectra, spectrum
from dgm_helpers.probability.quadrature import grid_2d, log_integral, moments

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def data(N=300, D=6, seed=0):
    g = seeded(seed)
    scale = torch.linspace(3, 0.4, D, dtype=F64)
    A = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=F64)).Q
    return (torch.randn(N, D, generator=g, dtype=F64) * scale) @ A + torch.arange(D, dtype=F64)


def a_model(D=6, L=3, seed=0):
    g = seeded(seed)
    return PPCA(torch.randn(D, generator=g, dtype=F64), torch.randn(D, L, generator=g, dtype=F64), 0.3)


def dense(model):
    D = len(model.mu)
    return MultivariateNormal(model.mu, model.W @ model.W.T + model.noise_var * torch.eye(D, dtype=F64))


# ---- the density ----


@pytest.mark.parametrize(("D", "L"), [(2, 1), (6, 3), (6, 5), (40, 2)])
def test_log_prob_is_that_of_the_dense_gaussian(D, L):
    model = a_model(D, L)
    x = 2 * torch.randn(50, D, generator=seeded(1), dtype=F64)
    torch.testing.assert_close(model.log_prob(x), dense(model).log_prob(x))


def test_density_integrates_to_one():
    model, spacing = a_model(2, 1), 0.05
    points = grid_2d(-20, 20, spacing, dtype=F64)
    log_p = model.log_prob(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    assert abs(float(log_integral(log_p, spacing))) < 1e-10
    mean, cov = moments(log_p, points)
    torch.testing.assert_close(mean, model.mu)
    torch.testing.assert_close(cov, dense(model).covariance_matrix)


def test_posterior_satisfies_bayes_rule():
    """log p(x | z) + log p(z) - log p(z | x) is log p(x), whatever z."""
    model, x = a_model(), torch.randn(4, 6, generator=seeded(1), dtype=F64)
    mean, cov = model.posterior(x)
    z = torch.randn(4, 3, generator=seeded(2), dtype=F64)
    noise = MultivariateNormal(model.mean(z), model.noise_var * torch.eye(6, dtype=F64))
    prior = MultivariateNormal(torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64))
    log_p = noise.log_prob(x) + prior.log_prob(z) - MultivariateNormal(mean, cov).log_prob(z)
    torch.testing.assert_close(log_p, model.log_prob(x))


def test_samples_have_the_models_moments_and_their_means_lack_the_noise():
    model, n = a_model(), 200_000
    x = model.sample(n, generator=seeded(1))
    C = dense(model).covariance_matrix
    assert ((x.mean(0) - model.mu).abs() < 5 * C.diagonal().sqrt() / math.sqrt(n)).all()
    error = ((C**2 + torch.outer(C.diagonal(), C.diagonal())) / n).sqrt()  # of an entry of a sample covariance
    assert ((torch.cov(x.T) - C).abs() < 5 * error).all()
    means = model.mean(torch.randn(n, 3, generator=seeded(1), dtype=F64))  # the latents of the same draws
    assert abs(float((x - means).var()) - 0.3) < 5 * 0.3 * math.sqrt(2 / (6 * n))
    torch.testing.assert_close(model.sample(5, generator=seeded(3)), model.sample(5, generator=seeded(3)))


@pytest.mark.parametrize(("D", "L"), [(2, 1), (6, 3)])
def test_mean_log_prob_needs_only_the_mean_and_the_covariance_of_the_data(D, L):
    model, x = a_model(D, L), 2 * torch.randn(50, D, generator=seeded(1), dtype=F64) + 1
    value = model.mean_log_prob(x.mean(0), torch.cov(x.T, correction=0))
    torch.testing.assert_close(value, dense(model).log_prob(x).mean())


# ---- maximum likelihood ----


@pytest.mark.parametrize("L", [1, 3, 5])
def test_fit_agrees_with_scikit_learn(L):
    x = data()
    N = len(x)
    model, peer = fit_ppca(x, L), PCA(L, svd_solver="full").fit(x.numpy())
    # scikit-learn divides by N - 1; the maximum likelihood divides by N
    assert float(model.noise_var) == pytest.approx(peer.noise_variance_ * (N - 1) / N)
    ours = model.W @ model.W.T + model.noise_var * torch.eye(6, dtype=F64)
    torch.testing.assert_close(ours, torch.as_tensor(peer.get_covariance()) * (N - 1) / N)
    scaled = PPCA(model.mu, model.W * math.sqrt(N / (N - 1)), model.noise_var * N / (N - 1))
    torch.testing.assert_close(scaled.log_prob(x), torch.as_tensor(peer.score_samples(x.numpy())))


@pytest.mark.parametrize("L", [1, 3, 5])
def test_gradient_vanishes_at_the_closed_form_and_nothing_nearby_is_better(L):
    x = data()
    model = fit_ppca(x, L)
    mu, W = model.mu.clone().requires_grad_(), model.W.clone().requires_grad_()
    log_var = model.noise_var.log().requires_grad_()
    cov = W @ W.T + log_var.exp() * torch.eye(6, dtype=F64)
    value = MultivariateNormal(mu, cov).log_prob(x).mean()
    for gradient in torch.autograd.grad(value, (mu, W, log_var)):
        assert float(gradient.abs().max()) < 1e-8
    g = seeded(1)
    for _ in range(50):
        step = 0.03 * torch.randn(6, L, generator=g, dtype=F64)
        other = PPCA(model.mu, model.W + step, model.noise_var * math.exp(0.05 * float(torch.randn(1, generator=g))))
        assert other.log_prob(x).mean() <= value + 1e-12


def test_a_rotation_of_the_latent_space_changes_nothing():
    x, model = data(), fit_ppca(data(), 3)
    R = torch.linalg.qr(torch.randn(3, 3, generator=seeded(1), dtype=F64)).Q
    torch.testing.assert_close(PPCA(model.mu, model.W @ R, model.noise_var).log_prob(x), model.log_prob(x))


def test_em_rises_to_the_closed_form():
    x, L = data(), 3
    mean, cov = x.mean(0), torch.cov(x.T, correction=0)
    model = PPCA(mean, torch.randn(6, L, generator=seeded(1), dtype=F64), 1.0)
    values = []
    for _ in range(400):
        values.append(float(model.log_prob(x).mean()))
        model = em_step_ppca(model, cov)
    assert all(after >= before - 1e-12 for before, after in pairwise(values))
    closed = fit_ppca(x, L)
    torch.testing.assert_close(model.W @ model.W.T, closed.W @ closed.W.T)
    torch.testing.assert_close(model.noise_var, closed.noise_var)


def test_an_em_step_is_the_posterior_average_written_with_loops():
    """Tipping and Bishop (1999), eqs. 27 and 28, from the posterior moments of every point."""
    x, model = data(60), PPCA(data(60).mean(0), a_model().W, 0.8)
    mean, cov = model.posterior(x)
    centred = x - x.mean(0)
    second = sum(cov + torch.outer(m, m) for m in mean)
    W = sum(torch.outer(c, m) for c, m in zip(centred, mean, strict=True)) @ second.inverse()
    noise = sum(
        c @ c - 2 * m @ W.T @ c + ((cov + torch.outer(m, m)) @ W.T @ W).trace()
        for c, m in zip(centred, mean, strict=True)
    ) / (60 * 6)
    new = em_step_ppca(model, torch.cov(x.T, correction=0))
    torch.testing.assert_close(new.W, W)
    torch.testing.assert_close(new.noise_var, noise)


def test_one_spectrum_serves_every_latent_dimension():
    x, held_out = data(), data(50, seed=0) + 0.3
    s = spectrum(x)
    values = mean_log_probs(s, held_out)
    assert values.shape == (5,)
    for L in range(1, 6):
        assert float(values[L - 1]) == pytest.approx(float(fit_ppca(x, L).log_prob(held_out).mean()))
        assert float(s.noise_vars()[L]) == pytest.approx(float(s.eigenvalues[L:].mean()))
    torch.testing.assert_close(mean_log_probs(s), mean_log_probs(s, x))
    assert (mean_log_probs(s, x).diff() > 0).all()  # on training data a larger model is never worse


@pytest.mark.parametrize("block", [7, 10_000])
def test_spectrum_is_that_of_the_covariance_in_blocks_and_in_float32(block, monkeypatch):
    monkeypatch.setattr(spectra, "BLOCK", block)
    x = data()
    s = spectrum(x)
    torch.testing.assert_close((s.eigenvectors * s.eigenvalues) @ s.eigenvectors.T, torch.cov(x.T, correction=0))
    assert (s.eigenvalues.diff() <= 0).all()
    single = spectrum(x.float() + 1000)  # the mean is 1000 times the smallest deviation
    assert single.eigenvalues.dtype == F64
    torch.testing.assert_close(
        single.eigenvalues, spectrum((x.float() + 1000).double()).eigenvalues, rtol=1e-5, atol=1e-6
    )
    model = fit_ppca(x.float(), 2)
    assert model.W.dtype == model.log_prob(x.float()).dtype == torch.float32
    torch.testing.assert_close(model.log_prob(x.float()).double(), fit_ppca(x, 2).log_prob(x), rtol=1e-4, atol=1e-4)


def test_the_mean_is_not_rounded_to_float32():
    """Near 2^22 float32 numbers are 1/2 apart, and so is the nearest one to a mean of 0.3 up to 0.2 from it."""
    bits = (torch.rand(1000, 3, generator=seeded(2), dtype=F64) < 0.3).double()
    x = (bits + 2**22).float()
    exact, ours = spectrum(x.double()), spectrum(x)
    torch.testing.assert_close(ours.eigenvalues, exact.eigenvalues, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.mean, exact.mean, rtol=0, atol=1e-5)


# ---- bad input ----


def test_bad_data_is_refused():
    x = data()
    spoiled = x.clone()
    spoiled[7, 2] = math.nan
    for bad, message in (
        (x[0], r"expected points of shape \(N, D\)"),
        (x[:1], "N >= 2"),
        (x[:, :1], "D >= 2"),
        (x.long(), "floating point"),
        (spoiled, "in 1 rows, the first is row 7"),
        (torch.ones(9, 3), "constant features only"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_ppca(bad, 1)


def test_a_likelihood_without_maximum_is_refused():
    x = data()
    with pytest.raises(ValueError, match="fewer points than components"):
        fit_ppca(x[:4], 3)  # 4 points span 3 dimensions about their mean
    with pytest.raises(ValueError, match="subspace"):
        fit_ppca(torch.cat([x[:, :2], torch.ones(len(x), 2, dtype=F64)], 1), 2)
    assert float(fit_ppca(x[:5], 3).noise_var) > 0
    assert mean_log_probs(spectrum(x[:4]), x)[-1] == -math.inf
    for L in (0, 6):
        with pytest.raises(ValueError, match="expected 1 <= latent_dim < 6"):
            ppca_of(spectrum(x), L)


def test_bad_models_and_shapes_are_refused():
    model = a_model()
    for mu, W, noise_var in (
        (torch.zeros(5), torch.zeros(6, 2), 1.0),
        (torch.zeros(6), torch.zeros(6), 1.0),
        (torch.zeros(3), torch.zeros(3, 3), 1.0),
    ):
        with pytest.raises(ValueError, match="expected mu"):
            PPCA(mu, W, noise_var)
    for noise_var in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="noise variance > 0"):
            PPCA(model.mu, model.W, noise_var)
    for call in (model.log_prob, model.posterior):
        with pytest.raises(ValueError, match=r"expected x of shape \(B, 6\), got \(4, 5\)"):
            call(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="expected a covariance"):
        em_step_ppca(model, torch.eye(5, dtype=F64))
