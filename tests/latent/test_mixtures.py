"""Mixtures against scikit-learn, torch.distributions, integration, autograd, enumeration, and EM's own guarantees."""

import math
import warnings

import pytest
import torch
from sklearn.mixture import GaussianMixture as Peer
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dgm_helpers.latent import (
    GaussianMixture,
    em_step,
    fit_mixture,
    kmeans_plus_plus,
    log_prior,
    mixtures,
    random_points,
    start_at,
)
from dgm_helpers.probability.quadrature import grid_2d, log_integral, moments

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def a_mixture(K=3, D=2, seed=0):
    g = seeded(seed)
    A = torch.randn(K, D, D, generator=g, dtype=F64)
    weights = torch.rand(K, generator=g, dtype=F64) + 0.3
    covariances = 0.4 * A @ A.mT + 0.3 * torch.eye(D, dtype=F64)
    return GaussianMixture(weights / weights.sum(), 2.5 * torch.randn(K, D, generator=g, dtype=F64), covariances)


def reference(model):
    return MixtureSameFamily(Categorical(model.weights), MultivariateNormal(model.means, model.covariances))


def peer_of(model):
    peer = Peer(len(model.weights))
    peer.weights_, peer.means_ = model.weights.numpy(), model.means.numpy()
    peer.covariances_ = model.covariances.numpy()
    peer.precisions_cholesky_ = torch.linalg.inv(model.cholesky).mT.numpy()
    return peer


def penalised(model, x, prior):
    return float(model.log_prob(x).sum() + log_prior(model, **prior))


PRIORS = [{"prior_count": 0.0, "prior_cov": None}, {"prior_count": 4.0, "prior_cov": torch.eye(3, dtype=F64) * 0.7}]


# ---- the density ----


@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 2), (4, 7)])
def test_log_prob_is_that_of_torch_distributions_and_of_scikit_learn(K, D):
    model = a_mixture(K, D)
    x = 3 * torch.randn(700, D, generator=seeded(1), dtype=F64)  # more than one block
    torch.testing.assert_close(model.log_prob(x), reference(model).log_prob(x))
    torch.testing.assert_close(model.log_prob(x), torch.as_tensor(peer_of(model).score_samples(x.numpy())))
    torch.testing.assert_close(model.responsibilities(x), torch.as_tensor(peer_of(model).predict_proba(x.numpy())))


def test_density_integrates_to_one_with_the_moments_of_a_mixture():
    model, spacing = a_mixture(), 0.1
    points = grid_2d(-14, 14, spacing, dtype=F64)
    log_p = model.log_prob(points)
    torch.testing.assert_close(log_p[40, 50], model.log_prob(points[40, 50]))
    assert abs(float(log_integral(log_p, spacing))) < 1e-10
    mean, cov = moments(log_p, points)
    expected = model.weights @ model.means
    spread = model.means - expected
    torch.testing.assert_close(mean, expected)
    between = torch.einsum("k,ki,kj->ij", model.weights, spread, spread)
    torch.testing.assert_close(cov, torch.einsum("k,kij->ij", model.weights, model.covariances) + between)


def test_far_points_and_float32_stay_finite():
    model = a_mixture(3, 2)
    far = torch.full((1, 2), 1e4, dtype=F64)
    assert model.log_prob(far).isfinite().all()
    assert float(model.responsibilities(far).sum()) == pytest.approx(1)
    single = GaussianMixture(model.weights.float(), model.means.float(), model.covariances.float())
    x = torch.randn(50, 2, generator=seeded(1))
    assert single.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(single.log_prob(x).double(), model.log_prob(x.double()), rtol=1e-4, atol=1e-4)


def test_samples_have_the_weights_means_and_covariances_of_the_components():
    """Averages of r_k, r_k (x - m_k) and r_k (x - m_k)(x - m_k)' over draws are pi_k, 0 and pi_k S_k."""
    model, n = a_mixture(), 100_000
    x = model.sample(n, generator=seeded(3))
    assert x.shape == (n, 2)
    r = model.responsibilities(x)
    for k in range(3):
        d, weight = x - model.means[k], model.weights[k]
        products = r[:, k, None, None] * d[:, :, None] * d[:, None, :]
        for values, exact in (
            (r[:, k], weight),
            (r[:, k, None] * d, torch.zeros(2, dtype=F64)),
            (products, weight * model.covariances[k]),
        ):
            assert ((values.mean(0) - exact).abs() < 5 * values.std(0) / math.sqrt(n)).all()
    torch.testing.assert_close(x, model.sample(n, generator=seeded(3)), rtol=0, atol=0)


def test_number_of_parameters():
    assert a_mixture(4, 7).num_parameters() == 3 + 28 + 4 * 28 == peer_of(a_mixture(4, 7))._n_parameters()


# ---- one step of EM ----


def test_a_step_is_the_textbook_step():
    """Bishop (2006), eqs. 9.24 to 9.27, with loops, on more points than one block."""
    model, x = a_mixture(3, 3), 2 * torch.randn(1300, 3, generator=seeded(2), dtype=F64)
    prior = PRIORS[1]
    new, total = em_step(model, x, **prior)
    r = torch.softmax(reference(model).component_distribution.log_prob(x[:, None]) + model.weights.log(), -1)
    for k in range(3):
        count = r[:, k].sum()
        mean = (r[:, k, None] * x).sum(0) / count
        scatter = sum(weight * torch.outer(d, d) for weight, d in zip(r[:, k], x - mean, strict=True))
        torch.testing.assert_close(new.weights[k], count / len(x))
        torch.testing.assert_close(new.means[k], mean)
        expected = (scatter + prior["prior_count"] * prior["prior_cov"]) / (count + prior["prior_count"])
        torch.testing.assert_close(new.covariances[k], expected)
    torch.testing.assert_close(total, reference(model).log_prob(x).sum())


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_blocks_do_not_matter(block, monkeypatch):
    model, x = a_mixture(3, 3), torch.randn(50, 3, generator=seeded(2), dtype=F64)
    expected, total = em_step(model, x, **PRIORS[1])
    monkeypatch.setattr(mixtures, "BLOCK", block)
    new, again = em_step(model, x, **PRIORS[1])
    torch.testing.assert_close(new.covariances, expected.covariances)
    torch.testing.assert_close(again, total)


def test_a_step_agrees_with_scikit_learn():
    model, x = a_mixture(3, 2), a_mixture(3, 2, seed=5).sample(500, generator=seeded(4))
    for _ in range(5):
        new, _ = em_step(model, x)
        peer = Peer(
            3, max_iter=1, reg_covar=0, weights_init=model.weights.numpy(), means_init=model.means.numpy(),
            precisions_init=torch.linalg.inv(model.covariances).numpy(),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.fit(x.numpy())
        for ours, theirs in (
            (new.weights, peer.weights_),
            (new.means, peer.means_),
            (new.covariances, peer.covariances_),
        ):
            torch.testing.assert_close(ours, torch.as_tensor(theirs))
        model = new


@pytest.mark.parametrize("prior", PRIORS, ids=["likelihood", "posterior"])
@pytest.mark.parametrize("seed", range(4))
def test_no_step_lowers_the_objective(prior, seed):
    x = a_mixture(4, 3, seed=seed).sample(300, generator=seeded(seed))
    if prior["prior_count"]:  # without a prior a repeated point makes a component collapse
        x = torch.cat([x, torch.zeros(5, 3, dtype=F64)])
    model = start_at(random_points(x, 5, generator=seeded(seed)), x, **prior)
    before = penalised(model, x, prior)
    for _ in range(60):
        model, _ = em_step(model, x, **prior)
        after = penalised(model, x, prior)
        assert after >= before - 1e-8 * abs(before)
        before = after


def test_log_prior_is_an_inverse_wishart_up_to_its_constant():
    """Differences between covariances are those of scipy's density with n0 - D - 1 degrees of freedom, scale n0 S0."""
    from scipy.stats import invwishart

    count, scale = 9.0, a_mixture(1, 3, seed=7).covariances[0]
    values = []
    for seed in (1, 2):
        model = a_mixture(2, 3, seed=seed)
        exact = sum(invwishart.logpdf(S.numpy(), count - 4, count * scale.numpy()) for S in model.covariances)
        values.append(float(log_prior(model, count, scale)) - exact)
    assert values[0] == pytest.approx(values[1])
    assert float(log_prior(model, 0.0, None)) == 0


def test_a_component_without_points_keeps_its_mean():
    prior = {"prior_count": 2.0, "prior_cov": torch.eye(2, dtype=F64)}
    far = torch.tensor([[0.0, 0.0], [1e6, 0.0]], dtype=F64)
    model = GaussianMixture(torch.tensor([0.5, 0.5], dtype=F64), far, torch.eye(2, dtype=F64).expand(2, 2, 2))
    new, _ = em_step(model, torch.randn(20, 2, generator=seeded(0), dtype=F64), **prior)
    assert new.means[1].tolist() == [1e6, 0.0]
    torch.testing.assert_close(new.covariances[1], prior["prior_cov"])
    assert em_step(new, torch.zeros(4, 2, dtype=F64), **prior)[0].weights.tolist() == [1.0, 0.0]


# ---- fitting ----


@pytest.mark.parametrize("count", [0.0, 3.0])
def test_gradient_vanishes_at_the_optimum(count):
    """By autograd through torch.distributions, in unconstrained coordinates."""
    x = a_mixture(3, 2).sample(400, generator=seeded(1))
    cov = 0.5 * torch.eye(2, dtype=F64)
    fit = fit_mixture(x, 3, num_steps=3000, tolerance=1e-14, prior_count=count, prior_cov=cov, generator=seeded(2))
    logits = fit.model.weights.log().requires_grad_()
    means, chol = fit.model.means.clone().requires_grad_(), fit.model.cholesky.clone().requires_grad_()
    model = MixtureSameFamily(Categorical(logits=logits), MultivariateNormal(means, scale_tril=chol))
    objective = model.log_prob(x).sum()
    for L in chol:
        S = L @ L.T
        objective = objective - 0.5 * count * (S.logdet() + (cov @ S.inverse()).trace())
    gradients = torch.autograd.grad(objective / len(x), (logits, means, chol))
    assert max(float(g.tril().abs().max() if g.ndim == 3 else g.abs().max()) for g in gradients) < 1e-5


def test_history_belongs_to_the_model_and_rises():
    x = a_mixture(3, 2).sample(300, generator=seeded(1))
    cov = torch.eye(2, dtype=F64)
    fit = fit_mixture(x, 3, num_steps=25, tolerance=0, prior_count=2.0, prior_cov=cov, generator=seeded(1))
    assert len(fit.objective) == len(fit.log_likelihood) == 26
    assert not fit.converged
    assert float(fit.log_likelihood[-1]) == pytest.approx(float(fit.model.log_prob(x).mean()))
    exact = penalised(fit.model, x, {"prior_count": 2.0, "prior_cov": cov}) / 300
    assert float(fit.objective[-1]) == pytest.approx(exact)
    assert (fit.objective.diff() > -1e-12).all()


def test_one_component_is_the_gaussian_of_the_data():
    x = a_mixture(3, 3).sample(200, generator=seeded(1))
    fit = fit_mixture(x, 1, generator=seeded(0))
    torch.testing.assert_close(fit.model.means[0], x.mean(0))
    torch.testing.assert_close(fit.model.covariances[0], torch.cov(x.T, correction=0))
    assert fit.converged


def test_well_separated_clusters_are_found_and_more_starts_do_no_harm():
    truth = GaussianMixture(
        torch.tensor([0.2, 0.3, 0.5], dtype=F64), torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]], dtype=F64),
        torch.eye(2, dtype=F64).expand(3, 2, 2),
    )  # fmt: skip
    x = truth.sample(600, generator=seeded(1))
    fit = fit_mixture(x, 3, starts=3, generator=seeded(2))
    order = fit.model.weights.argsort()
    assert (fit.model.responsibilities(x)[:, order].argmax(-1) == truth.responsibilities(x).argmax(-1)).all()
    one = fit_mixture(x, 3, starts=1, generator=seeded(2))
    assert fit.objective[-1] >= one.objective[-1] - 1e-9


def test_default_prior_cov_is_the_shrunken_covariance_of_the_data():
    x = a_mixture(3, 2).sample(300, generator=seeded(1))
    cov = torch.cov(x.T, correction=0) / 3
    given, default = (
        fit_mixture(x, 3, prior_count=5.0, prior_cov=c, generator=seeded(1)).model.covariances for c in (cov, None)
    )
    torch.testing.assert_close(given, default)


def test_kmeans_plus_plus_draws_by_squared_distance():
    """Three distinct values: after the first, the second is drawn in the ratio of the squared distances."""
    x = torch.tensor([[0.0], [1.0], [3.0]], dtype=F64)
    g, n, second = seeded(0), 4000, {}
    for _ in range(n):
        first, then = kmeans_plus_plus(x, 2, generator=g, lloyd_steps=0).flatten().tolist()
        second.setdefault(first, []).append(then)
    for first, then, share in ((0.0, 3.0, 9 / 10), (1.0, 3.0, 4 / 5), (3.0, 0.0, 9 / 13)):
        draws = second[first]
        assert abs(len(draws) - n / 3) < 5 * math.sqrt(n * 2 / 9)
        error = math.sqrt(share * (1 - share) / len(draws))
        assert abs(draws.count(then) / len(draws) - share) < 5 * error


def test_kmeans_steps_lower_the_distortion_and_end_at_the_clusters_means():
    x = a_mixture(3, 2).sample(300, generator=seeded(1))
    costs = []
    for steps in (0, 1, 5, 100):
        centres = kmeans_plus_plus(x, 3, generator=seeded(4), lloyd_steps=steps)
        costs.append(float(((x[:, None] - centres) ** 2).sum(-1).min(1).values.sum()))
    assert costs == sorted(costs, reverse=True)
    label = torch.cdist(x, centres).argmin(1)
    torch.testing.assert_close(centres, torch.stack([x[label == k].mean(0) for k in range(3)]))


def test_start_has_the_clusters_shares_and_their_pooled_covariance():
    x = torch.tensor([[0.0, 0], [0, 2], [9, 0], [9, 2], [9, 1]], dtype=F64)
    model = start_at(torch.tensor([[0.0, 1], [9, 1]], dtype=F64), x, prior_count=2.0, prior_cov=torch.eye(2, dtype=F64))
    assert model.weights.tolist() == pytest.approx([3 / 7, 4 / 7])
    torch.testing.assert_close(model.covariances[1], torch.tensor([[2 / 7, 0], [0, 6 / 7]], dtype=F64))


# ---- bad input ----

X = torch.randn(20, 2, generator=seeded(9), dtype=F64)
BAD = {
    "vector": (X[:, 0], 2, r"expected points of shape \(N, D\)"),
    "empty": (X[:0], 1, r"expected points of shape \(N, D\)"),
    "integers": (X.long(), 2, "floating point"),
    "NaN": (torch.cat([X, torch.full((2, 2), math.nan, dtype=F64)]), 2, "in 2 rows, the first is row 20"),
    "inf": (torch.cat([X, torch.tensor([[0, math.inf]], dtype=F64)]), 2, "in 1 rows, the first is row 20"),
    "few points": (X, 21, "expected 1 <= num_components <= 20 points, got 21"),
    "no component": (X, 0, "got 0"),
    "constant": (torch.cat([X, torch.ones(20, 1, dtype=F64)], 1), 2, r"constant ones, columns \[2\]"),
    "repeated": (X[:1].repeat(20, 1) + torch.tensor([[0.0], [1]], dtype=F64).repeat(10, 1), 3, "at least 3 distinct"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_refused(name):
    x, K, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        fit_mixture(x, K, generator=seeded(0))


@pytest.mark.parametrize(
    "options", [{"starts": 0}, {"num_steps": 0}, {"prior_count": -1.0}, {"prior_count": 1.0, "prior_cov": torch.eye(3)}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        fit_mixture(X, 2, generator=seeded(0), **options)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_collapse_is_an_error_that_names_the_cure_and_the_prior_cures_it(seed, dtype):
    """Far points that coincide: their component's likelihood grows without bound. Rounding must not hide it."""
    spot = torch.tensor([[50.3, -20.7]], dtype=F64) + torch.randn(1, 2, generator=seeded(seed), dtype=F64)
    x = torch.cat([X, spot.repeat(3, 1)]).to(dtype)
    with pytest.raises(
        ValueError, match=r"step \d+: the covariances of components \[\d\] are singular.*prior_count > 0"
    ):
        fit_mixture(x, 2, generator=seeded(seed))
    assert fit_mixture(x, 2, prior_count=1.0, generator=seeded(seed)).converged


def test_model_refuses_what_is_no_mixture():
    eye = torch.eye(2).expand(2, 2, 2)
    half = torch.tensor([0.5, 0.5])
    for weights, means, covariances, message in (
        (half, torch.zeros(2, 3), eye, "expected weights"),
        (half, torch.zeros(3, 2), eye, "expected weights"),
        (torch.tensor([0.5, 0.6]), torch.zeros(2, 2), eye, "sum to 1"),
        (torch.tensor([1.5, -0.5]), torch.zeros(2, 2), eye, "weights >= 0"),
        (half, torch.zeros(2, 2), torch.stack([torch.eye(2), torch.ones(2, 2)]), r"components \[1\] are singular"),
        (half, torch.zeros(2, 2), math.nan * eye, "singular"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(weights, means, covariances)
    with pytest.raises(ValueError, match=r"expected points of shape \(..., 2\), got \(4, 3\)"):
        GaussianMixture(half, torch.zeros(2, 2), eye).log_prob(torch.zeros(4, 3))


def test_the_best_start_is_returned():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(120, 2, generator=generator, dtype=torch.float64) + 6 * torch.eye(2).double()[torch.arange(120) % 2]
    x[::3] -= 5.0
    together = fit_mixture(x, 4, starts=5, init=random_points, generator=torch.Generator().manual_seed(1))
    one_by_one = torch.Generator().manual_seed(1)
    ends = [float(fit_mixture(x, 4, init=random_points, generator=one_by_one).objective[-1]) for _ in range(5)]
    assert max(ends) - min(ends) > 1e-3  # else every start would be as good
    assert float(together.objective[-1]) == max(ends)


def test_rounding_is_no_covariance():
    """Points that coincide leave a scatter of rounding, sometimes positive: it must not pass for a covariance."""
    cloud = torch.linspace(-2, 2, 50, dtype=torch.float64).unsqueeze(1)
    for shift in torch.linspace(0.1, 0.9, 40, dtype=torch.float64):
        x = torch.cat([cloud, torch.full((3, 1), 100.0, dtype=torch.float64) + shift])
        means, ones = torch.tensor([[0.0], [100.0]], dtype=torch.float64), torch.ones(2, 1, 1, dtype=torch.float64)
        with pytest.raises(ValueError, match="singular"):
            em_step(GaussianMixture(torch.full((2,), 0.5, dtype=torch.float64), means, ones), x)
