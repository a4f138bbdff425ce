"""Gaussian mixtures with full covariances, fitted by expectation-maximisation (Dempster, Laird and Rubin 1977).

N points of dimension D, K components. A quadratic form is the squared norm of a whitened difference.
"""

from typing import NamedTuple

import torch

from dgm_helpers.probability.densities import LOG_2PI

BLOCK = 512  # points whitened at a time: (K, BLOCK, D) numbers, so that they stay in the cache


class GaussianMixture:
    r""":math:`p(x) = \sum_k \pi_k\,\mathcal N(x; m_k, S_k)` from weights ``(K,)``, means ``(K, D)``, covariances
    ``(K, D, D)``. Raises ValueError if shapes do not fit, weights are no distribution, or a covariance is singular.
    """

    def __init__(self, weights, means, covariances):
        K, D = means.shape if means.ndim == 2 else (0, 0)
        if K == 0 or D == 0 or weights.shape != (K,) or covariances.shape != (K, D, D):
            came = ", ".join(str(tuple(t.shape)) for t in (weights, means, covariances))
            raise ValueError(f"expected weights (K,), means (K, D) and covariances (K, D, D), got {came}")
        if not ((weights >= 0).all() and abs(float(weights.detach().sum()) - 1) < 1e-4):
            raise ValueError(f"expected weights >= 0 that sum to 1, got {weights.tolist()}")
        self.weights, self.means, self.covariances = weights, means, covariances
        self.cholesky, info = torch.linalg.cholesky_ex(covariances)
        singular = (info != 0) | ~covariances.isfinite().all(-1).all(-1)
        if singular.any():
            raise ValueError(f"the covariances of components {singular.nonzero().flatten().tolist()} are singular")

    def num_parameters(self):
        """Free parameters: K - 1 weights, K means, K symmetric covariances."""
        K, D = self.means.shape
        return K - 1 + K * D + K * D * (D + 1) // 2

    def _whiten(self, x):
        r"""Log-joint ``(N, K)`` and whitened differences :math:`L_k^{-1}(x - m_k)`, ``(K, N, D)``, with S = L L'."""
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        inverse = torch.linalg.solve_triangular(self.cholesky, eye, upper=False)
        y = (x - self.means.unsqueeze(1)) @ inverse.mT  # the difference first: no digits cancel
        log_det = self.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.weights.log() - log_det - 0.5 * x.shape[1] * LOG_2PI
        return (constant.unsqueeze(1) - 0.5 * (y * y).sum(-1)).T, y

    def log_joint(self, x):
        r""":math:`\log\pi_k + \log\mathcal N(x; m_k, S_k)` of every point and component: (N, D) -> (N, K), nats."""
        _check_data(x, self.means.shape[1])
        return torch.cat([self._whiten(block)[0] for block in x.split(BLOCK)])

    def log_prob(self, x):
        """log p(x): (N, D) -> (N,), nats. Bishop (2006), eq. 9.7."""
        return torch.logsumexp(self.log_joint(x), -1)

    def responsibilities(self, x):
        """p(k | x), the posterior of the component: (N, D) -> (N, K). Bishop (2006), eq. 9.13."""
        return torch.softmax(self.log_joint(x), -1)

    def sample(self, n, *, generator=None):
        """n draws and the components they came from: (n, D) and (n,)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        epsilon = torch.randn(
            n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        return self.means[k] + (self.cholesky[k] @ epsilon.unsqueeze(-1)).squeeze(-1), k


class MixtureFit(NamedTuple):
    """What fit_mixture returns: the model; after each step, both in nats per point, the log-likelihood and the
    objective (the same plus log-prior / N); and whether the last step gained less than the tolerance."""

    model: GaussianMixture
    log_likelihood: torch.Tensor  # (steps + 1,)
    objective: torch.Tensor  # (steps + 1,)
    converged: bool


def _check_data(x, dim=None):
    if x.ndim != 2 or 0 in x.shape or not x.is_floating_point() or (dim is not None and x.shape[1] != dim):
        raise ValueError(
            f"expected points of shape (N, {dim or 'D'}) in floating point, got {tuple(x.shape)}, {x.dtype}"
        )
    bad = (~x.isfinite().all(-1)).nonzero().flatten()
    if len(bad):
        raise ValueError(f"expected finite points, got NaN or inf in {len(bad)} rows, the first is row {int(bad[0])}")


def log_prior(model, prior_count, prior_cov):
    r"""Log inverse-Wishart prior of the covariances, without its constant:
    :math:`-\tfrac{n_0}2\sum_k \log\det S_k + \operatorname{tr}(S_0 S_k^{-1})`, nats.

    It acts like :math:`n_0` more points with scatter :math:`n_0 S_0` about each mean: degrees of freedom
    :math:`n_0 - D - 1`, scale matrix :math:`n_0 S_0`. Fraley and Raftery (2007), with a flat prior on the means.
    """
    if prior_count == 0:
        return model.means.new_zeros(())
    log_det = 2 * model.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    trace = torch.cholesky_solve(prior_cov.expand_as(model.cholesky), model.cholesky).diagonal(dim1=-2, dim2=-1).sum(-1)
    return -0.5 * prior_count * (log_det + trace).sum()


def em_step(model, x, *, prior_count=0.0, prior_cov=None):
    r"""One step of EM. Returns the new model, and the log-likelihood of the *old* one, nats (a sum over points).

    E-step: :math:`r_{nk} = p(k \mid x_n)`, :math:`N_k = \sum_n r_{nk}`. M-step: :math:`\pi_k = N_k/N`,
    :math:`m_k = \sum_n r_{nk} x_n / N_k`,
    :math:`S_k = \big(n_0 S_0 + \sum_n r_{nk}(x_n - m_k)(x_n - m_k)^\top\big) / (n_0 + N_k)`, which maximises the bound
    plus ``log_prior``; n0 = 0 is maximum likelihood. Sums run over whitened points, in blocks, in one pass. A component
    with no points keeps its mean. Raises ValueError if a covariance becomes singular. Bishop (2006), eqs. 9.24 to 9.26.
    """
    K, D = model.means.shape
    total, counts = torch.zeros((), dtype=torch.float64, device=x.device), x.new_zeros(K)
    shift, scatter = x.new_zeros(K, D), x.new_zeros(K, D, D)
    for block in x.split(BLOCK):
        log_joint, y = model._whiten(block)
        log_p = torch.logsumexp(log_joint, -1, keepdim=True)
        r = torch.exp(log_joint - log_p).T.unsqueeze(-1)  # (K, n, 1)
        total += log_p.sum(dtype=torch.float64)
        weighted = r * y
        counts += r.sum((1, 2))
        shift += weighted.sum(1)
        scatter.baddbmm_(weighted.mT, y)
    # back from whitened coordinates: x = m + L y, so the new mean is m + L (shift / N_k)
    mean_y = shift / counts.clamp_min(torch.finfo(x.dtype).tiny).unsqueeze(-1)
    scatter -= mean_y.unsqueeze(-1) * shift.unsqueeze(-2)
    scatter = model.cholesky @ scatter @ model.cholesky.mT
    if prior_count > 0:
        scatter = scatter + prior_count * prior_cov
    covariances = scatter / (counts + prior_count)[:, None, None]
    means = model.means + (model.cholesky @ mean_y.unsqueeze(-1)).squeeze(-1)
    new = GaussianMixture(counts / counts.sum(), means, 0.5 * (covariances + covariances.mT))
    # points that coincide leave a scatter of mere rounding, which may or may not pass for positive definite
    shrunk = (new.cholesky.diagonal(dim1=-2, dim2=-1) / model.cholesky.diagonal(dim1=-2, dim2=-1)).square().amin(-1)
    lost = (shrunk < 10 * torch.finfo(x.dtype).eps).nonzero().flatten().tolist()
    if lost:
        raise ValueError(f"the covariances of components {lost} are singular, to rounding")
    return new, total


def random_points(x, num_components, *, generator=None):
    """K points of x drawn without replacement: (K, D)."""
    return x[torch.randperm(len(x), generator=generator, device=x.device)[:num_components]]


def kmeans_plus_plus(x, num_components, *, generator=None, lloyd_steps=5):
    """Centres drawn in turn with probability proportional to the squared distance from the nearest one so far, then
    moved by a few steps of k-means: (K, D). Arthur and Vassilvitskii (2007).
    """
    chosen = torch.randint(len(x), (1,), generator=generator, device=x.device)
    nearest = ((x - x[chosen]) ** 2).sum(-1)
    while len(chosen) < num_components:
        if not nearest.max() > 0:
            raise ValueError(f"expected at least {num_components} distinct points, got {len(chosen)}")
        mass = nearest.double().cumsum(0)
        point = mass[-1] * torch.rand(1, generator=generator, dtype=mass.dtype, device=x.device)
        # right=True: the first point whose mass passes the draw, never one of mass 0
        chosen = torch.cat((chosen, torch.searchsorted(mass, point, right=True).clamp_max(len(x) - 1)))
        nearest = torch.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(-1))
    centres = x[chosen]
    for _ in range(lloyd_steps):
        label, counts = _assign(x, centres)
        sums = torch.zeros_like(centres).index_add_(0, label, x)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres


def _assign(x, centres):
    """The nearest centre of every point, (N,), and the number of points of every centre, (K, 1)."""
    label = ((centres**2).sum(-1) - 2 * x @ centres.T).argmin(-1)
    return label, torch.bincount(label, minlength=len(centres)).to(x.dtype).unsqueeze(-1)


def start_at(centres, x, *, prior_count=0.0, prior_cov=None):
    """The mixture that EM starts from: the clusters' shares (one point added to each) and one pooled covariance."""
    label, counts = _assign(x, centres)
    within = x - centres[label]
    pooled = within.T @ within
    if prior_count > 0:
        pooled = pooled + prior_count * prior_cov
    pooled = pooled / (len(x) + prior_count)
    K, D = centres.shape
    return GaussianMixture((counts.flatten() + 1) / (len(x) + K), centres, pooled.expand(K, D, D))


def fit_mixture(
    x, num_components, *, num_steps=200, tolerance=1e-6, starts=1, init=kmeans_plus_plus, prior_count=0.0,
    prior_cov=None, generator=None,
):  # fmt: skip
    """Fit K components to points x ``(N, D)`` by EM; return the MixtureFit of the start with the best objective.

    EM stops when a step gains less than ``tolerance`` nats per point, or after ``num_steps``. init: gives the centres
    ``(K, D)`` to start at, as ``kmeans_plus_plus`` does. prior_count = 0 is maximum likelihood, whose objective has no
    upper bound for K >= 2 (a component may collapse); with prior_count > 0 the covariances have the prior of
    ``log_prior``, and the objective is bounded. prior_cov: ``(D, D)``, by default the covariance of x divided by
    K^(2/D), so that K components would fill the volume of one. Raises ValueError for wrong shapes, NaN or inf, fewer
    points than components, constant features, or (without a prior) a component that became singular.
    """
    _check_data(x)
    N, D = x.shape
    if num_components < 1 or num_components > N:
        raise ValueError(f"expected 1 <= num_components <= {N} points, got {num_components}")
    if starts < 1 or num_steps < 1 or prior_count < 0:
        raise ValueError(f"expected {starts=} >= 1, {num_steps=} >= 1 and {prior_count=} >= 0")
    constant = (x == x[0]).all(0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"expected features that vary, got constant ones, columns {constant[:10]}: drop them")
    if prior_cov is None:
        prior_cov = torch.cov(x.T, correction=0).reshape(D, D) / num_components ** (2 / D)
    if prior_cov.shape != (D, D):
        raise ValueError(f"expected prior_cov of shape {(D, D)}, got {tuple(prior_cov.shape)}")
    prior = {"prior_count": prior_count, "prior_cov": prior_cov}
    fits = [_climb(start_at(init(x, num_components, generator=generator), x, **prior), x, num_steps, tolerance, prior)
            for _ in range(starts)]  # fmt: skip
    return max(fits, key=lambda fit: float(fit.objective[-1]))


def _climb(model, x, num_steps, tolerance, prior):
    """Repeat em_step until it gains less than the tolerance; the history begins at the start and ends at the model."""
    likelihoods, objectives, converged = [], [], False
    for step in range(num_steps + 1):
        try:
            new, total = em_step(model, x, **prior)
        except ValueError as error:
            raise ValueError(f"EM broke down at step {step + 1}: {error}. Use prior_count > 0") from error
        likelihoods.append(total / len(x))
        objectives.append((total + log_prior(model, **prior)) / len(x))
        converged = step > 0 and bool(objectives[-1] - objectives[-2] < tolerance)
        if converged or step == num_steps:
            return MixtureFit(model, torch.stack(likelihoods), torch.stack(objectives), converged)
        model = new
