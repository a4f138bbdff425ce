"""Probabilistic PCA (Tipping and Bishop 1999): x = W z + mu + noise, z ~ N(0, I), noise ~ N(0, sigma^2 I).

N points of dimension D, latent dimension L < D. Nothing here inverts a matrix larger than (L, L).
"""

import math

import torch

from dgm_helpers.arguments import rows, tensors, whole
from dgm_helpers.latent.spectra import spectrum
from dgm_helpers.probability.densities import LOG_2PI


class PPCA:
    r""":math:`p(x) = \mathcal N(x; \mu, W W^\top + \sigma^2 I)` from mu ``(D,)``, W ``(D, L)`` and noise_var > 0.

    Raises ValueError if shapes do not fit or the noise variance is not positive: without noise there is no density.
    """

    def __init__(self, mu, W, noise_var):
        tensors(floating=True, mu=mu, W=W)
        if mu.ndim != 1 or W.ndim != 2 or W.shape[0] != len(mu) or not 1 <= W.shape[1] < len(mu):
            raise ValueError(f"expected mu (D,) and W (D, L), 1 <= L < D, got {tuple(mu.shape)} and {tuple(W.shape)}")
        if not 0 < noise_var < math.inf:
            raise ValueError(f"expected a finite noise variance > 0, got {float(noise_var)}; no density without noise")
        self.mu, self.W, self.noise_var = mu, W, torch.as_tensor(noise_var, dtype=W.dtype, device=W.device)

    @property
    def M(self):
        r""":math:`M = W^\top W + \sigma^2 I`, ``(L, L)``."""
        return self.W.T @ self.W + self.noise_var * torch.eye(self.W.shape[1]).to(self.W)

    def _double(self):
        """The model in float64: with little noise, float32 has no digits left in M."""
        return PPCA(self.mu.double(), self.W.double(), self.noise_var.double())

    def _centre(self, x):
        tensors(x=x, mu=self.mu)
        if x.ndim != 2 or x.shape[1] != len(self.mu):
            raise ValueError(f"expected x of shape (B, {len(self.mu)}), got {tuple(x.shape)}")
        return x - self.mu

    def log_prob(self, x):
        r"""log p(x): (B, D) -> (B,), nats, in O(B D L). With the posterior's mean z, the quadratic form is
        :math:`\|x - \mu - W z\|^2 / \sigma^2 + \|z\|^2`, and :math:`\det C = \sigma^{2(D - L)} \det M`.
        """
        model, (D, L) = self._double(), self.W.shape
        centred = model._centre(x)
        z = model.posterior(x)[0]
        quadratic = (centred - z @ model.W.T).square().sum(-1) / model.noise_var + z.square().sum(-1)
        log_det = (D - L) * model.noise_var.log() + model.M.logdet()
        return (-0.5 * (D * LOG_2PI + log_det + quadratic)).to(x.dtype)

    def posterior(self, x):
        r"""Mean ``(B, L)`` and covariance ``(L, L)`` of p(z | x): :math:`M^{-1} W^\top (x - \mu)` and
        :math:`\sigma^2 M^{-1}`, the same for all x. Tipping and Bishop (1999), section 3.1.
        """
        model, dtype = self._double(), self.W.dtype
        cholesky = torch.linalg.cholesky(model.M)
        mean = torch.cholesky_solve((model._centre(x) @ model.W).T, cholesky).T
        return mean.to(dtype), (model.noise_var * torch.cholesky_inverse(cholesky)).to(dtype)

    def mean_log_prob(self, mean, covariance):
        """Mean of log p(x), nats, over any data with this mean ``(D,)`` and covariance ``(D, D)`` (divisor N)."""
        model, (D, L) = self._double(), self.W.shape
        tensors(mean=mean, covariance=covariance, W=self.W)
        if mean.shape != (D,) or covariance.shape != (D, D):
            came = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            raise ValueError(f"expected a mean {(D,)} and a covariance {(D, D)}, got {came}")
        shift = mean - model.mu
        second = covariance + torch.outer(shift, shift)  # of x - mu
        explained = torch.linalg.solve(model.M, model.W.T @ second @ model.W).trace()
        log_det = (D - L) * model.noise_var.log() + model.M.logdet()
        return (-0.5 * (D * LOG_2PI + log_det + (second.trace() - explained) / model.noise_var)).to(self.W.dtype)

    def mean(self, z):
        """The mean of p(x | z): (B, L) -> (B, D)."""
        rows(z, self.W.shape[1], self.W, "latent points")
        return z @ self.W.T + self.mu

    def sample(self, n, *, generator=None):
        """n draws of x, noise included: (n, D). The latents are drawn first, then the noise."""
        options = {"generator": generator, "dtype": self.W.dtype, "device": self.W.device}
        n, (D, L) = whole("n", n, 0), self.W.shape
        mean = self.mean(torch.randn(n, L, **options))
        return mean + self.noise_var.sqrt() * torch.randn(n, D, **options)


def ppca_of(spectrum, latent_dim, *, dtype=None):
    r"""Maximum likelihood in closed form: :math:`W = U_L(\Lambda_L - \sigma^2 I)^{1/2}`, with :math:`\sigma^2` the mean
    of the discarded eigenvalues. W times any rotation is as good. Tipping and Bishop (1999), eqs. 7 and 8.

    Raises ValueError unless 1 <= latent_dim < D, or if the discarded variance is 0: the likelihood has no maximum.
    """
    mean, values, vectors = spectrum
    latent_dim = whole("latent_dim", latent_dim, 0)
    if not 1 <= latent_dim < len(values):
        raise ValueError(f"expected 1 <= latent_dim < {len(values)}, got {latent_dim}")
    noise_var = spectrum.noise_vars()[latent_dim]
    if not noise_var > values[0] * len(values) * torch.finfo(values.dtype).eps:
        raise ValueError(
            f"expected variance outside the first {latent_dim} components, got {float(noise_var):.1e}: the points "
            "lie in a subspace of that dimension (fewer points than components, or constant features)"
        )
    W = vectors[:, :latent_dim] * (values[:latent_dim] - noise_var).clamp_min(0).sqrt()
    dtype = dtype or mean.dtype
    return PPCA(mean.to(dtype), W.to(dtype), noise_var.to(dtype))


def fit_ppca(x, latent_dim):
    """PPCA of points x ``(N, D)`` by maximum likelihood, in the dtype of x. Raises as ``spectrum`` and ``ppca_of``."""
    return ppca_of(spectrum(x), latent_dim, dtype=x.dtype)


def em_step_ppca(model, covariance):
    r"""One step of EM on the covariance of the data, ``(D, D)``; the model's mu is its mean and stays.

    :math:`W' = S W(\sigma^2 I + M^{-1} W^\top S W)^{-1}` and
    :math:`\sigma'^2 = \tfrac1D\operatorname{tr}(S - S W M^{-1} W'^\top)`. Tipping and Bishop (1999), eqs. 29 and 30.
    """
    D, L = model.W.shape
    tensors(covariance=covariance, W=model.W)
    if covariance.shape != (D, D):
        raise ValueError(f"expected a covariance of shape {(D, D)}, got {tuple(covariance.shape)}")
    mu, model = model.mu, model._double()
    SW, eye = covariance.double() @ model.W, torch.eye(L).to(model.W)
    W = torch.linalg.solve(model.noise_var * eye + torch.linalg.solve(model.M, model.W.T @ SW), SW, left=False)
    noise_var = (covariance.double().trace() - (torch.linalg.solve(model.M, SW, left=False) * W).sum()) / D
    return PPCA(mu, W.to(mu.dtype), noise_var.to(mu.dtype))
