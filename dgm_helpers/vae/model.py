"""A variational autoencoder, written as its equations: encoder, decoder, bound.

B is the batch, D the number of pixels, L the latent dimension, K the number of draws per example.
"""

import itertools

import torch
from torch import nn

from dgm_helpers.probability.densities import (
    kl_standard_normal,
    log_bernoulli,
    log_normal,
    log_standard_normal,
    sample_normal,
    softplus,
)

GRID_POINTS = 2**16  # of a latent grid decoded at a time: a fine grid's hidden layers would not fit into 4 GiB


def mlp(widths, activation=nn.ReLU):
    """Linear layers of these widths, input and output included, with an activation between them."""
    layers = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [activation(), nn.Linear(a, b)] if i else [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def _widths(hidden):
    return [hidden] if isinstance(hidden, int) else list(hidden)


class MLPEncoder(nn.Module):
    """From an image to the mean and log-variance of q(z | x): (..., D) -> two of (..., L).

    hidden: the width of one hidden layer, or a list of widths.
    """

    def __init__(self, data_dim, hidden, latent_dim, *, activation=nn.ReLU):
        super().__init__()
        self.body = mlp([data_dim, *_widths(hidden), 2 * latent_dim], activation)

    def forward(self, x):
        return self.body(x).chunk(2, dim=-1)


class MLPDecoder(nn.Module):
    """From a latent point to one parameter for each pixel, such as its log-odds: (..., L) -> (..., D).

    hidden: the width of one hidden layer, or a list of widths, from the latent side.
    """

    def __init__(self, latent_dim, hidden, data_dim, *, activation=nn.ReLU):
        super().__init__()
        self.body = mlp([latent_dim, *_widths(hidden), data_dim], activation)

    def forward(self, z):
        return self.body(z)


class VAE(nn.Module):
    """p(z) = N(0, I), p(x | z) = Bernoulli(decoder(z)), q(z | x) = N(encoder(x)). Kingma and Welling (2014).

    log_likelihood: ``log p(x | z)`` as a function of x and the decoder's output, (..., D) and (..., D) -> (...), nats;
    the Bernoulli's unless another is given.
    """

    def __init__(self, encoder, decoder, latent_dim, *, log_likelihood=log_bernoulli):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim
        self.log_likelihood = log_likelihood

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | z) + log p(z): (B, D) and (..., B, L) -> (..., B), nats."""
        return self.log_likelihood(x, self.decoder(z)) + log_standard_normal(z)

    def draws(self, x, num_samples, *, held=False, generator=None):
        """K draws from q(z | x) and their log q: (B, D) -> (K, B, L) and (K, B), nats. Reparameterised.

        held: take q's parameters as constants in log q, so that its gradient is the one along the draw alone.
        """
        mu, log_var = self.encoder(x)
        z = sample_normal(mu.expand(num_samples, *mu.shape), log_var, generator=generator)
        if held:
            mu, log_var = mu.detach(), log_var.detach()
        return z, log_normal(z, mu, log_var)

    def log_weights(self, x, num_samples, *, generator=None):
        """log w = log p(x, z) - log q(z | x) at K draws from q: (B, D) -> (K, B), nats.

        ``bounds.elbo`` and ``bounds.iwae`` turn it into bounds. Differentiable by reparameterisation.
        """
        z, log_q = self.draws(x, num_samples, generator=generator)
        return self.log_joint(x, z) - log_q

    def elbo(self, x, *, generator=None):
        """One-draw estimate of the bound, reconstruction minus KL: (B, D) -> (B,), nats.

        The KL is in closed form; only E_q[log p(x | z)] is sampled. Kingma and Welling (2014), eq. 10.
        """
        mu, log_var = self.encoder(x)
        z = sample_normal(mu, log_var, generator=generator)
        return self.log_likelihood(x, self.decoder(z)) - kl_standard_normal(mu, log_var)

    def sample(self, n, *, generator=None):
        """Decoder outputs (logits, or means) of n images generated from the prior, z ~ N(0, I): (n, D)."""
        weight = next(self.parameters())
        z = torch.randn(n, self.latent_dim, generator=generator, dtype=weight.dtype, device=weight.device)
        return self.decoder(z)

    def grid_log_joint(self, points):
        """Decode a latent grid once; return the function that gives log p(x, z) of any images on it.

        points: (n1, n2, L). The function maps (b, D) to (b, n1, n2), nats. All images share the logits l(z): what
        is left of log p(x | z) = x . l(z) - sum_d log(1 + exp l_d(z)) is one matrix product for each batch.
        Raises ValueError for a likelihood that is not the Bernoulli's.
        """
        if self.log_likelihood is not log_bernoulli:
            raise ValueError(f"grid_log_joint is for log_bernoulli, this model has {self.log_likelihood}")
        points_in_rows = points.flatten(0, 1)
        with torch.no_grad():
            size = self.decoder(points_in_rows[:1]).shape[-1]
            logits = points.new_empty(len(points_in_rows), size)
            for rows, part in zip(logits.split(GRID_POINTS), points_in_rows.split(GRID_POINTS), strict=True):
                rows.copy_(self.decoder(part))
            normaliser = torch.cat([softplus(rows).sum(-1) for rows in logits.split(GRID_POINTS)])
            constant = log_standard_normal(points_in_rows) - normaliser
        return lambda x: torch.addmm(constant, x, logits.T).unflatten(-1, points.shape[:2])
