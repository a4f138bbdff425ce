"""How accurate every density, bound, EM step, regression and PPCA function is in float32: one table.

Each row runs a function on float32 inputs and on the same numbers in float64, and states how far apart the results may
be: relative to the result, plus an absolute part where terms of that size are added. The inputs are scaled, shifted far
from the origin, nearly singular, or of low rank. Below it, float64 is held against numbers of 50 digits.
"""

import math

import mpmath
import pytest
import torch

from dgm_helpers.data import banana_log_joint
from dgm_helpers.flows import AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.latent import (
    PPCA,
    GaussianMixture,
    em_step,
    em_step_ppca,
    fit_mixture,
    fit_ppca,
    kmeans_plus_plus,
    mean_log_probs,
    spectrum,
    start_at,
)
from dgm_helpers.notebook import Estimate
from dgm_helpers.probability import (
    grid_2d,
    kl_discrete,
    kl_knn,
    kl_normal,
    kl_standard_normal,
    log_bernoulli,
    log_integral,
    log_mean_exp,
    log_normal,
    log_standard_normal,
    moments,
    regression,
    softplus,
)
from dgm_helpers.vae import VAE, effective_sample_size, elbo, gradients, iwae, normalised_weights

EPS = torch.finfo(torch.float32).eps  # 1.2e-7
F64 = torch.float64


def normal(*shape, seed=0):
    """Numbers of float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def in_parts(p):
    """The distribution rounded to multiples of 2^-22, so that it sums to 1 in float32 and in float64."""
    counts = (p.double() * 2**22).round()
    counts[..., 0] += 2**22 - counts.sum(-1)
    return (counts / 2**22).float()


def softmax(*shape, seed=0):
    return in_parts(torch.softmax(normal(*shape, seed=seed), -1))


def nearly(p, difference):
    """A distribution at a small distance of p."""
    q = p.double() * (1 + difference * torch.linspace(-1, 1, p.shape[-1], dtype=F64))
    return in_parts(q / q.sum(-1, keepdim=True))


def low_rank(N, D, rank, noise):
    return normal(N, rank, seed=1) @ normal(rank, D, seed=2) + noise * normal(N, D, seed=3)


def collinear(n=40, gap=1e-3):
    x = normal(n, 1)
    return torch.cat((x, x + gap * normal(n, 1, seed=1), normal(n, 1, seed=2)), 1)


def clusters(shift, n=200):
    """Three clusters around (0, 0), (6, 0) and (0, 6), moved, on points that float32 holds."""
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres.repeat_interleave(n, 0) + normal(3 * n, 2) + shift


def mixture(x, shift):
    """A mixture beside the clusters."""
    means = torch.tensor([[0.5, 0.0], [5.0, 0.5], [0.0, 5.5]]) + shift
    return GaussianMixture(torch.full((3,), 1 / 3).to(x), means.to(x), torch.eye(2).expand(3, 2, 2).to(x))


def ppca(W, noise_var):
    """A model of W's dtype whose mean is not zero."""
    return PPCA(torch.linspace(-1, 1, len(W)).to(W), W, noise_var)


def nearest(x):
    """The cluster of every point, by k-means++ from a fixed seed: counts, which do not depend on the order."""
    centres = kmeans_plus_plus(x, 3, generator=torch.Generator().manual_seed(0))
    return centres[centres[:, 0].sub(centres[:, 1]).argsort()]


def bound_of_vae(x):
    """log p(x) on a grid, of a small model with fixed weights."""
    torch.manual_seed(0)
    model = VAE.mlp(6, 5, 2).to(x.dtype)
    return model.log_evidence(x, spacing=0.2).detach()


def of_flow(layers):
    def log_prob(x):
        torch.manual_seed(0)
        return Flow(layers(), 2).to(x.dtype).log_prob(x).detach()

    return log_prob


def planar(z):
    torch.manual_seed(0)
    return Flow([Planar(2), Planar(2)], 2).to(z.dtype)(z)[1].detach()


def log_w(spread=3.0, shift=0.0):
    return spread * normal(50, 4) + shift


BITS = (normal(7, 6) > 0).float()
S = 1e-3 * normal(5, 4)  # log-variances near those of the prior
FAR = 1e4

#   name, function, inputs, relative error, absolute error
ROWS = [
    ("softplus", softplus, [normal(50) * 20], 3 * EPS, 0),
    ("log_normal", log_normal, [normal(5, 4), normal(5, 4, seed=1), normal(5, 4, seed=2)], 10 * EPS, 10 * EPS),
    ("log_normal, shifted", log_normal, [normal(5, 4) + FAR, normal(5, 4, seed=1) + FAR, S], 10 * EPS, 10 * EPS),
    ("log_normal, narrow", log_normal, [1e-20 * normal(5, 4), torch.zeros(4), torch.full((4,), -100.0)],
     10 * EPS, 0),
    ("log_normal, wide", log_normal, [1e20 * normal(5, 4), torch.zeros(4), torch.full((4,), 90.0)], 10 * EPS, 0),
    ("log_standard_normal", log_standard_normal, [10 * normal(5, 4)], 10 * EPS, 0),
    ("log_bernoulli", log_bernoulli, [BITS, 30 * normal(7, 6)], 10 * EPS, 100 * EPS),
    ("kl_normal", kl_normal, [normal(5, 4, seed=s) for s in range(4)], 20 * EPS, 0),
    ("kl_normal near zero", kl_normal, [S, S, 1.001 * S, S + 1e-4], 4 * EPS / 1e-4, 0),
    ("kl_normal, shifted", kl_normal, [S + FAR, S, S.flip(0) + FAR, S.flip(1)], 1e-3, 0),
    ("kl_normal, narrow", kl_normal, [S * 1e-20, S - 99, S * 1e-20, S.flip(0) - 100], 1e-4, 0),
    ("kl_standard_normal", kl_standard_normal, [normal(5, 4), normal(5, 4, seed=1)], 10 * EPS, 0),
    ("kl_standard_normal near zero", kl_standard_normal, [0 * S, torch.full((5, 4), 1e-4)], 4 * EPS / 1e-4, 0),
    ("kl_discrete", kl_discrete, [softmax(4, 9), softmax(4, 9, seed=1)], 10 * EPS, 0),
    ("kl_discrete near zero", kl_discrete, [softmax(9), nearly(softmax(9), 1e-3)], 4 * EPS / 1e-3, 0),
    ("kl_knn", kl_knn, [normal(50, 2) + FAR, normal(50, 2, seed=1) + FAR], 1e-12, 0),
    ("log_mean_exp", lambda x: log_mean_exp(x, 0), [log_w()], 10 * EPS, 10 * EPS),
    ("log_mean_exp, shifted", lambda x: log_mean_exp(x, 0), [log_w(shift=-FAR)], 2 * EPS, 0),
    ("log_integral", lambda f: log_integral(f, 0.1), [log_w().unflatten(0, (10, 5))], 10 * EPS, 10 * EPS),
    ("moments, shifted", lambda f, p: moments(f, p)[1],
     [normal(21, 21), grid_2d(0, 2, 0.1).as_subclass(torch.Tensor) + 1024], 1e-4, 1e-4),
    ("elbo", elbo, [log_w(shift=-100)], 2 * EPS, 0),
    ("iwae", iwae, [log_w(shift=-100)], 2 * EPS, 0),
    ("iwae, shifted", iwae, [log_w(shift=-FAR)], 2 * EPS, 0),
    ("effective_sample_size", effective_sample_size, [log_w()], 20 * EPS, 0),
    ("effective_sample_size, shifted", effective_sample_size, [log_w(shift=-FAR)], 20 * EPS, 0),
    ("normalised_weights", normalised_weights, [log_w(shift=-FAR)], 10 * EPS, 1e-12),
    ("mean_of_others", gradients.mean_of_others, [normal(5, 20)], 1e-5, 20 * EPS),
    ("VAE.log_evidence", bound_of_vae, [BITS], 20 * EPS, 0),
    ("banana_log_joint", banana_log_joint, [normal(50, 2)], 10 * EPS, 0),
    ("Flow.log_prob, affine", of_flow(lambda: [AffineCoupling(2), Scaling(2)]), [3 * normal(20, 2)], 20 * EPS, 0),
    ("Planar", planar, [30 * normal(20, 2)], 1e-4, 20 * EPS),
    ("GaussianMixture.log_prob", lambda x: mixture(x, 0).log_prob(x), [clusters(0)], 20 * EPS, 0),
    ("GaussianMixture.log_prob, shifted", lambda x: mixture(x, 1e5).log_prob(x), [clusters(1e5)], 20 * EPS, 0),
    ("em_step, means, shifted", lambda x: em_step(mixture(x, 1e5), x)[0].means, [clusters(1e5)], EPS, 0),
    ("em_step, covariances, shifted", lambda x: em_step(mixture(x, 1e5), x)[0].covariances, [clusters(1e5)],
     1e-4, 1e-4),
    ("em_step, weights, shifted", lambda x: em_step(mixture(x, 1e5), x)[0].weights, [clusters(1e5)], 1e-5, 0),
    ("kmeans_plus_plus, shifted", nearest, [clusters(1e5)], EPS, 0),
    ("start_at, shares, shifted", lambda x: start_at(nearest(x), x).weights, [clusters(1e5)], 2 * EPS, 0),
    ("start_at, covariance, shifted", lambda x: start_at(nearest(x), x).covariances, [clusters(1e5)], 1e-2, 1e-2),
    ("fit_mixture, shifted",
     lambda x: fit_mixture(x, 3, generator=torch.Generator().manual_seed(0)).log_likelihood[-1], [clusters(1e4)],
     1e-5, 0),
    ("regression.posterior", lambda x, y: regression.posterior(x, y, 0.1)[0], [normal(40, 3), normal(40)], 1e-6, 0),
    ("regression.posterior, collinear", lambda x, y: regression.posterior(x, y, 1e-3)[0], [collinear(), normal(40)],
     1e-6, 0),
    ("regression.posterior_kernel, little noise", lambda x, y: regression.posterior_kernel(x, y, 1e-5)[1],
     [normal(4, 3), normal(4)], 1e-6, 0),
    ("regression.log_evidence", lambda x, y: regression.log_evidence(x, y, 0.1), [normal(40, 3), normal(40)], 1e-6, 0),
    ("regression.log_evidence, little noise", lambda x, y: regression.log_evidence(x, y, 1e-8),
     [normal(40, 3), (normal(40, 3) @ torch.ones(3))], 1e-6, 0),
    ("regression.log_evidence, collinear", lambda x, y: regression.log_evidence(x, y, 1e-5), [collinear(), normal(40)],
     1e-6, 0),
    ("spectrum, shifted", lambda x: spectrum(x).eigenvalues, [low_rank(300, 5, 5, 0) + FAR], 1e-7, 0),
    ("spectrum, low rank", lambda x: spectrum(x).eigenvalues[:3], [low_rank(300, 5, 2, 1e-3)], 1e-6, 0),
    ("mean_log_probs, low rank", lambda x: mean_log_probs(spectrum(x)), [low_rank(300, 5, 2, 1e-3)], 1e-6, 0),
    ("fit_ppca, noise, low rank", lambda x: fit_ppca(x, 2).noise_var, [low_rank(300, 5, 2, 1e-3)], 2 * EPS, 0),
    ("PPCA.log_prob", lambda x, W: ppca(W, 0.1).log_prob(x), [normal(9, 5), normal(5, 2, seed=1)], 2 * EPS, 0),
    ("PPCA.log_prob, little noise", lambda x, W: ppca(W, 2.0**-30).log_prob(x),
     [1e3 * normal(9, 2) @ normal(5, 2, seed=1).T, normal(5, 2, seed=1)], 2 * EPS, 0),
    ("PPCA.posterior, little noise", lambda x, W: ppca(W, 2.0**-30).posterior(x)[0],
     [normal(9, 5), normal(5, 1, seed=1) + 1e-3 * normal(5, 2, seed=2)], 2 * EPS, 0),
    ("PPCA.mean_log_prob, little noise", lambda m, C, W: ppca(W, 2.0**-30).mean_log_prob(m, C),
     [normal(5), torch.eye(5), normal(5, 2, seed=1)], 2 * EPS, 0),
    ("em_step_ppca, little noise",
     lambda C, W: em_step_ppca(ppca(W, 2.0**-20), C).noise_var,
     [torch.cov(low_rank(300, 5, 2, 1e-2).T), normal(5, 2, seed=2)], 2 * EPS, 0),
    ("Estimate.of", lambda x: torch.tensor(Estimate.of(x).error), [normal(1000) + 1e5], EPS, 0),
]  # fmt: skip


def error(single, double):
    """Largest absolute and relative errors; an infinity must be the same infinity."""
    single, double = (torch.as_tensor(v, dtype=F64) for v in (single, double))
    assert torch.equal(single.isfinite(), double.isfinite()), (single, double)
    finite = double.isfinite()
    assert torch.equal(single[~finite], double[~finite])
    return (single - double).abs()[finite], double.abs()[finite]


@pytest.mark.parametrize(("function", "inputs", "relative", "absolute"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_float32_is_as_accurate_as_the_table_says(function, inputs, relative, absolute):
    assert all(x.dtype == torch.float32 for x in inputs)
    off, size = error(function(*inputs), function(*(x.double() for x in inputs)))
    assert len(off) > 0
    assert (off <= relative * size + absolute).all(), f"off by {float((off / size).max()):.1e} of the result"


def test_the_table_has_every_density_and_fit():
    names = " ".join(name for name, *_ in ROWS)
    for function in (log_normal, kl_normal, kl_standard_normal, log_bernoulli, kl_discrete, kl_knn, elbo, iwae,
                     effective_sample_size, em_step, em_step_ppca, spectrum, mean_log_probs, fit_ppca, fit_mixture,
                     kmeans_plus_plus, log_integral, moments, regression.posterior,
                     regression.log_evidence):  # fmt: skip
        assert function.__name__ in names


# ---- float64 against 50 digits ----


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(50):
        yield


def exact(tensor):
    """A matrix of the same numbers; a vector becomes a column."""
    return mpmath.matrix(tensor.tolist() if tensor.ndim == 2 else [[v] for v in tensor.tolist()])


def log_density(x, cov):
    """log N(x; 0, cov)."""
    solved = mpmath.lu_solve(cov, x)
    return -(mpmath.log(mpmath.det(2 * mpmath.pi * cov)) + (x.T * solved)[0]) / 2


@pytest.mark.parametrize("noise_var", [1e-2, 1e-6, 1e-10, 1e-13])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_ppca_with_noise_far_below_the_signal(noise_var, dtype):
    W = normal(4, 2, seed=1).to(dtype)
    model = PPCA(torch.zeros(4, dtype=dtype), W, noise_var)
    noise = float(model.noise_var) ** 0.5
    x = (100 * normal(3, 2).double() @ W.double().T + noise * normal(3, 4, seed=2).double()).to(dtype)
    cov = exact(W) * exact(W).T + mpmath.eye(4) * mpmath.mpf(float(model.noise_var))
    value = model.log_prob(x)
    assert value.dtype == dtype
    for row, ours in zip(x, value, strict=True):
        expected = log_density(exact(row), cov)
        assert abs(float(ours) - expected) < (1e-9 + 2 * torch.finfo(dtype).eps) * (100 + abs(expected))


@pytest.mark.parametrize("noise_var", [1e-2, 1e-6, 1e-10, 1e-13])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_evidence_of_a_regression_with_little_noise(noise_var, dtype):
    x = normal(6, 2).to(dtype)
    y = (x.double() @ torch.tensor([3.0, -2.0]).double() + noise_var**0.5 * normal(6, seed=1).double()).to(dtype)
    noise = torch.tensor(noise_var, dtype=dtype)
    cov = exact(x) * exact(x).T + mpmath.eye(6) * mpmath.mpf(float(noise))
    expected = log_density(exact(y), cov)
    ours = regression.log_evidence(x, y, noise)
    assert ours.dtype == dtype
    assert abs(float(ours) - expected) < (1e-9 + 2 * torch.finfo(dtype).eps) * (100 + abs(expected))


@pytest.mark.parametrize("log_var", [1e-1, 1e-3, 1e-5, -1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_kl_near_zero(log_var, dtype):
    """f = exp(l) - 1 - l is about l^2 / 2: what is subtracted from it is rounded to eps l."""
    ell = torch.tensor([log_var], dtype=dtype)
    expected = (mpmath.expm1(float(ell)) - float(ell)) / 2
    for ours in (kl_standard_normal(0 * ell, ell), kl_normal(0 * ell, ell, 0 * ell, 0 * ell)):
        assert abs(float(ours) / expected - 1) < 4 * torch.finfo(dtype).eps / abs(log_var)


@pytest.mark.parametrize(("bit", "logit", "expected"), [
    (1.0, math.inf, 0.0), (0.0, -math.inf, 0.0), (1.0, -math.inf, -math.inf), (0.0, math.inf, -math.inf),
    (0.5, math.inf, -math.inf), (0.5, -math.inf, -math.inf),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_certain_bit_has_probability_one_or_zero(bit, logit, expected, dtype):
    x, logits = torch.tensor([bit, 1.0], dtype=dtype), torch.tensor([logit, 2.0], dtype=dtype)
    rest = -math.log1p(math.exp(-2))
    assert float(log_bernoulli(x, logits)) == pytest.approx(expected + rest, abs=1e-6)


def test_a_bit_that_is_not_a_number_is_not_hidden():
    assert log_bernoulli(torch.ones(2), torch.tensor([math.nan, 1.0])).isnan()


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e5])
def test_points_find_their_nearest_centre_far_from_the_origin(shift):
    """Three clusters in float32: the counts of the points nearest to each centre are those near the origin."""
    x = clusters(shift)
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]]) + shift
    shares = start_at(centres, x).weights
    nearby = ((x.double()[:, None] - centres.double()) ** 2).sum(-1).argmin(1)
    assert (shares * 603 - 1).round().tolist() == torch.bincount(nearby, minlength=3).tolist()


@pytest.mark.parametrize(("N", "D", "rank"), [(8, 20, 7), (50, 20, 19), (50, 20, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_the_rank_of_the_points_is_found_in_their_own_precision(N, D, rank, dtype, shift):
    x = normal(N, D) if N <= D else normal(N, min(rank, D)).double() @ normal(min(rank, D), D, seed=1).double()
    x = x.to(dtype) + shift
    if rank == 19:
        x[:, 4] = 0.3  # one constant feature
    eigenvalues = spectrum(x).eigenvalues
    assert int((eigenvalues > 0).sum()) == rank
    assert (mean_log_probs(spectrum(x)).isfinite().nonzero().flatten() + 1).tolist() == list(range(1, rank))
