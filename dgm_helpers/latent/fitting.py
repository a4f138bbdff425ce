"""Fitting a Gaussian mixture: where EM starts (k-means++, Arthur and Vassilvitskii 2007), and when it stops."""

from typing import NamedTuple

import torch

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.latent.mixtures import GaussianMixture, check_points, em_step, log_prior


class MixtureFit(NamedTuple):
    """What fit_mixture returns: the model; after each step, both in nats per point, the log-likelihood and the
    objective (the same plus log-prior / N); and whether the last step gained less than the tolerance."""

    model: GaussianMixture
    log_likelihood: torch.Tensor  # (steps + 1,)
    objective: torch.Tensor  # (steps + 1,)
    converged: bool


def random_points(x, num_components, *, generator=None):
    """K points of x drawn without replacement: (K, D)."""
    check_points(x)
    num_components = whole("num_components", num_components, 1)
    return x[torch.randperm(len(x), generator=generator, device=x.device)[:num_components]]


def kmeans_plus_plus(x, num_components, *, generator=None, lloyd_steps=5):
    """Centres drawn in turn with probability proportional to the squared distance from the nearest one so far, then
    moved by a few steps of k-means: (K, D). Raises ValueError for fewer than K distinct points.
    """
    check_points(x)
    num_components, lloyd_steps = whole("num_components", num_components, 1), whole("lloyd_steps", lloyd_steps, 0)
    origin = x[0]  # near the points: far from 0, sums and squares have no digits left
    x = x - origin
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
    return centres + origin


def _assign(x, centres):
    """The nearest centre of every point, (N,), and the number of points of every centre, (K, 1)."""
    label = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)  # by differences
    return label, torch.bincount(label, minlength=len(centres)).to(x.dtype).unsqueeze(-1)


def start_at(centres, x, *, prior_count=0.0, prior_cov=None):
    """The mixture that EM starts from: the clusters' shares (one point added to each) and one pooled covariance."""
    check_points(x)
    check_points(centres, x.shape[1])
    tensors(alike=True, centres=centres, x=x)
    label, counts = _assign(x, centres)
    within = x - centres[label]
    scatter = within.T @ within
    if prior_count > 0:
        scatter = scatter + prior_count * prior_cov
    pooled = scatter / (len(x) + prior_count)
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
    check_points(x)
    N, D = x.shape
    num_components = whole("num_components", num_components, 0)
    if not 1 <= num_components <= N:
        raise ValueError(f"expected 1 <= num_components <= {N} points, got {num_components}")
    starts, num_steps = whole("starts", starts, 1), whole("num_steps", num_steps, 1)
    if not prior_count >= 0:
        raise ValueError(f"expected prior_count >= 0, got {prior_count}")
    constant = (x == x[0]).all(0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"expected features that vary, got constant ones, columns {constant[:10]}: drop them")
    if prior_cov is None:
        prior_cov = torch.cov(x.T, correction=0).reshape(D, D) / num_components ** (2 / D)
    if prior_cov.shape != (D, D):
        raise ValueError(f"expected prior_cov of shape {(D, D)}, got {tuple(prior_cov.shape)}")
    prior, fits = {"prior_count": prior_count, "prior_cov": prior_cov}, []
    for _ in range(starts):
        start = start_at(init(x, num_components, generator=generator), x, **prior)
        fits.append(_run_em(start, x, num_steps, tolerance, prior))
    return max(fits, key=lambda fit: float(fit.objective[-1]))


def _run_em(model, x, num_steps, tolerance, prior):
    """Repeat em_step until it gains less than the tolerance; the history begins at the start and ends at the model."""
    history, converged = [], False
    for step in range(num_steps + 1):
        try:
            new, total = em_step(model, x, **prior)
        except ValueError as error:
            raise ValueError(f"EM broke down at step {step + 1}: {error}. Use prior_count > 0") from error
        history.append(torch.stack((total, total + log_prior(model, **prior))) / len(x))
        converged = step > 0 and bool(history[-1][1] - history[-2][1] < tolerance)
        if converged or step == num_steps:
            return MixtureFit(model, *torch.stack(history, 1), converged)
        model = new
