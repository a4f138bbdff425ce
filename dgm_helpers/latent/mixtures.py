"""Gaussian mixtures with full covariances, and one step of EM (Dempster, Laird and Rubin 1977) for them.

N points of dimension D, K components. A quadratic form is the squared norm of a whitened difference.
"""

import torch

from dgm_helpers.arguments import rows, tensors, whole
from dgm_helpers.probability.densities import LOG_2PI

BLOCK = 512  # points taken at a time: (K, BLOCK, D) numbers, so that they stay in the cache


class GaussianMixture:
    r""":math:`p(x) = \sum_k \pi_k\,\mathcal N(x; m_k, S_k)` from weights ``(K,)``, means ``(K, D)``, covariances
    ``(K, D, D)``. Raises ValueError if shapes do not fit, weights are no distribution, or a covariance is singular.
    """

    def __init__(self, weights, means, covariances):
        tensors(floating=True, alike=True, weights=weights, means=means, covariances=covariances)
        K, D = means.shape if means.ndim == 2 else (0, 0)
        if K == 0 or D == 0 or weights.shape != (K,) or covariances.shape != (K, D, D):
            came = ", ".join(str(tuple(t.shape)) for t in (weights, means, covariances))
            raise ValueError(f"expected weights (K,), means (K, D) and covariances (K, D, D), got {came}")
        if not ((weights >= 0).all() and abs(float(weights.detach().sum()) - 1) < 1e-4):
            raise ValueError(f"expected weights >= 0 that sum to 1, got {weights.tolist()}")
        self.weights, self.means, self.covariances = weights, means, covariances
        self.cholesky, info = torch.linalg.cholesky_ex(covariances)
        self.log_dets = 2 * self.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        singular = (info != 0) | ~covariances.isfinite().all(-1).all(-1)
        if singular.any():
            raise ValueError(f"the covariances of components {singular.nonzero().flatten().tolist()} are singular")

    def num_parameters(self):
        """Free parameters: K - 1 weights, K means, K symmetric covariances."""
        K, D = self.means.shape
        return K - 1 + K * D + K * D * (D + 1) // 2

    def _whiten(self, x):
        r"""Whitened differences :math:`L_k^{-1}(x - m_k)`, with :math:`S_k = L_k L_k^\top`: (N, D) -> (K, N, D)."""
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        inverse = torch.linalg.solve_triangular(self.cholesky, eye, upper=False)
        return (x - self.means.unsqueeze(1)) @ inverse.mT  # the difference first: no digits cancel

    def log_joint(self, x):
        r""":math:`\log\pi_k + \log\mathcal N(x; m_k, S_k)` of every point and component: (..., D) -> (..., K), nats."""
        rows(x, self.means.shape[1], self.means)
        D, points = x.shape[-1], x.reshape(-1, x.shape[-1])
        check_points(points, self.means.shape[1])
        squared = torch.cat([self._whiten(block).square().sum(-1) for block in points.split(BLOCK)], 1)
        log_joint = self.weights.log() - 0.5 * (D * LOG_2PI + self.log_dets + squared.T)
        return log_joint.reshape(*x.shape[:-1], -1)

    def log_prob(self, x):
        """log p(x): (..., D) -> (...), nats. Bishop (2006), eq. 9.7."""
        return torch.logsumexp(self.log_joint(x), -1)

    def responsibilities(self, x):
        """p(k | x), the posterior of the component: (..., D) -> (..., K). Bishop (2006), eq. 9.13."""
        return torch.softmax(self.log_joint(x), -1)

    def sample(self, n, *, generator=None):
        """n draws of x: (n, D)."""
        n = whole("n", n, 1)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        options = {"dtype": self.means.dtype, "device": self.means.device}
        epsilon = torch.randn(n, self.means.shape[1], generator=generator, **options)
        return self.means[k] + (self.cholesky[k] @ epsilon.unsqueeze(-1)).squeeze(-1)


def check_points(x, dim=None):
    """Raise ValueError unless x is ``(N, dim)``, in floating point and finite."""
    tensors(x=x)
    if x.ndim != 2 or 0 in x.shape or not x.is_floating_point() or (dim is not None and x.shape[1] != dim):
        came = f"{tuple(x.shape)}, {x.dtype}"
        raise ValueError(f"expected points of shape (N, {dim or 'D'}) in floating point, got {came}")
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
    tensors(prior_cov=prior_cov, means=model.means)
    if prior_cov.shape != model.covariances.shape[1:]:
        raise ValueError(f"expected prior_cov {tuple(model.covariances.shape[1:])}, got {tuple(prior_cov.shape)}")
    traces = (prior_cov * torch.cholesky_inverse(model.cholesky)).sum((-2, -1))
    return -0.5 * prior_count * (model.log_dets + traces).sum()


def em_step(model, x, *, prior_count=0.0, prior_cov=None):
    r"""One step of EM. Returns the new model, and the log-likelihood of the *old* one, nats (a sum over points).

    E-step: :math:`r_{nk} = p(k \mid x_n)`, :math:`N_k = \sum_n r_{nk}`. M-step: :math:`\pi_k = N_k/N`,
    :math:`m_k = \sum_n r_{nk} x_n / N_k`,
    :math:`S_k = \big(n_0 S_0 + \sum_n r_{nk}(x_n - m_k)(x_n - m_k)^\top\big) / (n_0 + N_k)`, which maximises the bound
    plus ``log_prior``; n0 = 0 is maximum likelihood. A component with no points keeps its mean. Raises ValueError if a
    covariance becomes singular. Bishop (2006), eqs. 9.24 to 9.26.
    """
    check_points(x, model.means.shape[1])
    log_joint = model.log_joint(x)
    r = torch.softmax(log_joint, -1)  # (N, K)
    counts = r.sum(0)
    origin = x[0]  # near the points, so that sums keep their digits
    moved = ((x - origin).T @ r / counts.clamp_min(torch.finfo(x.dtype).tiny)).T
    means = torch.where(counts.unsqueeze(1) > 0, origin + moved, model.means)
    scatter = torch.zeros_like(model.covariances)
    for points, shares in zip(x.split(BLOCK), r.T.split(BLOCK, 1), strict=True):
        difference = points - means.unsqueeze(1)  # (K, BLOCK, D)
        scatter += (shares.unsqueeze(-1) * difference).mT @ difference
    if prior_count > 0:
        scatter += prior_count * prior_cov
    covariances = scatter / (counts + prior_count)[:, None, None]
    new = GaussianMixture(counts / counts.sum(), means, 0.5 * (covariances + covariances.mT))
    # points that coincide leave a scatter of mere rounding, which may or may not pass for positive definite
    shrunk = (new.cholesky / model.cholesky).diagonal(dim1=-2, dim2=-1).square().amin(-1)
    lost = (shrunk < 10 * torch.finfo(x.dtype).eps).nonzero().flatten().tolist()
    if lost:
        raise ValueError(f"the covariances of components {lost} are singular, to rounding")
    return new, torch.logsumexp(log_joint, -1).sum(dtype=torch.float64)
