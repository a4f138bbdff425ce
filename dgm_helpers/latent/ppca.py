"""Probabilistic PCA (Tipping and Bishop 1999): x = W z + mu + noise, z ~ N(0, I), noise ~ N(0, sigma^2 I).

N points of dimension D, latent dimension L < D. Nothing here inverts a matrix larger than (L, L).
"""

import math
from typing import NamedTuple

import torch

from dgm_helpers.probability.densities import LOG_2PI

BLOCK = 10_000  # rows multiplied at a time; the blocks are added in float64


class Spectrum(NamedTuple):
    """Eigendecomposition of a covariance (divisor N), largest eigenvalue first; it serves every latent dimension."""

    mean: torch.Tensor  # (D,)
    eigenvalues: torch.Tensor  # (D,)
    eigenvectors: torch.Tensor  # (D, D), in columns

    def noise_vars(self):
        """Mean of the discarded eigenvalues for L = 0, ..., D - 1: (D,). Tipping and Bishop (1999), eq. 8."""
        discarded = self.eigenvalues.flip(0).cumsum(0).flip(0)
        return discarded / torch.arange(len(discarded), 0, -1, dtype=discarded.dtype, device=discarded.device)


def spectrum(x):
    """Mean and eigendecomposition of the covariance of x, ``(N, D)``, in float64.

    Raises ValueError for wrong shapes, fewer than 2 points, NaN or inf, or points that are all the same.
    """
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 2 or not x.is_floating_point():
        raise ValueError(
            f"expected x of shape (N, D), N >= 2, D >= 2, in floating point, got {tuple(x.shape)}, {x.dtype}"
        )
    centre = x.mean(0)
    if not centre.isfinite().all():
        bad = (~x.isfinite().all(-1)).nonzero().flatten()
        raise ValueError(f"expected finite points, got NaN or inf in {len(bad)} rows, the first is row {int(bad[0])}")
    shift, scatter = torch.zeros_like(centre, dtype=torch.float64), 0
    for block in x.split(BLOCK):
        block = block - centre
        shift += block.sum(0)
        scatter = scatter + (block.T @ block).double()
    shift /= len(x)  # what rounding left of the mean: of a million points in float32, not quite nothing
    mean, covariance = centre + shift, scatter / len(x) - torch.outer(shift, shift)
    if not covariance.diagonal().max() > 0:
        raise ValueError("expected points that vary, got constant features only")
    values, vectors = torch.linalg.eigh(covariance)
    return Spectrum(mean, values.flip(0).clamp_min(0), vectors.flip(1))


class PPCA:
    r""":math:`p(x) = \mathcal N(x; \mu, W W^\top + \sigma^2 I)` from mu ``(D,)``, W ``(D, L)`` and noise_var > 0.

    Raises ValueError if shapes do not fit or the noise variance is not positive: without noise there is no density.
    """

    def __init__(self, mu, W, noise_var):
        if mu.ndim != 1 or W.ndim != 2 or W.shape[0] != len(mu) or not 1 <= W.shape[1] < len(mu):
            raise ValueError(f"expected mu (D,) and W (D, L), 1 <= L < D, got {tuple(mu.shape)} and {tuple(W.shape)}")
        if not (noise_var > 0 and math.isfinite(noise_var)):
            raise ValueError(f"expected a finite noise variance > 0, got {float(noise_var)}; no density without noise")
        self.mu, self.W, self.noise_var = mu, W, torch.as_tensor(noise_var, dtype=W.dtype, device=W.device)

    @property
    def M(self):
        r""":math:`M = W^\top W + \sigma^2 I`, ``(L, L)``."""
        return self.W.T @ self.W + self.noise_var * torch.eye(self.W.shape[1], dtype=self.W.dtype, device=self.W.device)

    def _centre(self, x):
        if x.ndim != 2 or x.shape[1] != len(self.mu):
            raise ValueError(f"expected x of shape (B, {len(self.mu)}), got {tuple(x.shape)}")
        return x - self.mu

    def log_prob(self, x):
        r"""log p(x): (B, D) -> (B,), nats, in O(B D L) by the Woodbury identity and the determinant lemma:
        :math:`C^{-1} = \sigma^{-2}(I - W M^{-1} W^\top)` and :math:`\det C = \sigma^{2(D - L)} \det M`.
        """
        D, L = self.W.shape
        centred, cholesky = self._centre(x), torch.linalg.cholesky(self.M)
        explained = torch.linalg.solve_triangular(cholesky, (centred @ self.W).T, upper=False)  # (L, B)
        quadratic = ((centred**2).sum(-1) - (explained**2).sum(0)) / self.noise_var
        log_det = (D - L) * self.noise_var.log() + 2 * cholesky.diagonal().log().sum()
        return -0.5 * (D * LOG_2PI + log_det + quadratic)

    def posterior(self, x):
        r"""Mean ``(B, L)`` and covariance ``(L, L)`` of p(z | x): :math:`M^{-1} W^\top (x - \mu)` and
        :math:`\sigma^2 M^{-1}`, the same for all x. Tipping and Bishop (1999), section 3.1.
        """
        cholesky = torch.linalg.cholesky(self.M)
        mean = torch.cholesky_solve((self._centre(x) @ self.W).T, cholesky).T
        return mean, self.noise_var * torch.cholesky_inverse(cholesky)

    def decode(self, z):
        """The mean of p(x | z): (B, L) -> (B, D)."""
        return z @ self.W.T + self.mu

    def sample(self, n, *, generator=None):
        """n draws of x, noise included, and their decoder means: two of (n, D)."""
        D, L = self.W.shape
        z = torch.randn(n, L, generator=generator, dtype=self.W.dtype, device=self.W.device)
        means = self.decode(z)
        noise = torch.randn(n, D, generator=generator, dtype=self.W.dtype, device=self.W.device)
        return means + self.noise_var.sqrt() * noise, means


def ppca_of(spectrum, latent_dim, *, dtype=None):
    r"""Maximum likelihood in closed form: :math:`W = U_L(\Lambda_L - \sigma^2 I)^{1/2}`, with :math:`\sigma^2` the mean
    of the discarded eigenvalues. W times any rotation is as good. Tipping and Bishop (1999), eqs. 7 and 8.

    Raises ValueError unless 1 <= latent_dim < D, or if the discarded variance is 0: the likelihood has no maximum.
    """
    mean, values, vectors = spectrum
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


def mean_log_probs(spectrum, x=None):
    """Mean log p(x), nats, under the maximum-likelihood PPCA of every latent dimension: (B, D) -> (D - 1,).

    Entry L - 1 is latent dimension L. One projection serves them all; without x, of the data that ``spectrum`` came
    from, not even that. -inf where the noise variance is 0.
    """
    mean, values, vectors = spectrum
    D = len(values)
    if x is None:
        second = values
    else:
        second = sum(((part.double() - mean) @ vectors).square().sum(0) for part in x.split(BLOCK)) / len(x)
    noise_vars = spectrum.noise_vars()[1:]
    kept = (second / values).cumsum(0)[:-1]
    rest = second.flip(0).cumsum(0).flip(0)[1:] / noise_vars
    log_det = values.log().cumsum(0)[:-1] + torch.arange(D - 1, 0, -1, device=values.device) * noise_vars.log()
    result = -0.5 * (D * LOG_2PI + log_det + kept + rest)
    return torch.where(noise_vars > 0, result, -math.inf)


def em_step_ppca(model, covariance):
    r"""One step of EM on the covariance of the data, ``(D, D)``; the model's mu is its mean and stays.

    :math:`W' = S W(\sigma^2 I + M^{-1} W^\top S W)^{-1}` and
    :math:`\sigma'^2 = \tfrac1D\operatorname{tr}(S - S W M^{-1} W'^\top)`. Tipping and Bishop (1999), eqs. 29 and 30.
    """
    D, L = model.W.shape
    if covariance.shape != (D, D):
        raise ValueError(f"expected a covariance of shape {(D, D)}, got {tuple(covariance.shape)}")
    SW = covariance @ model.W
    inner = model.noise_var * torch.eye(L, dtype=SW.dtype, device=SW.device) + torch.linalg.solve(
        model.M, model.W.T @ SW
    )
    W = torch.linalg.solve(inner, SW, left=False)
    noise_var = (covariance.trace() - (torch.linalg.solve(model.M, SW, left=False) * W).sum()) / D
    return PPCA(model.mu, W, noise_var)
