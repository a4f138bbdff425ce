"""A variational autoencoder for binary data, written as its equations: encoder, decoder, bound.

B is the batch, D the number of pixels, L the latent dimension, K the number of draws per example.
"""

import torch
from torch import nn

from dgm_helpers.densities import (
    kl_standard_normal,
    log_bernoulli,
    log_normal,
    log_standard_normal,
    sample_normal,
    softplus,
)


class MLPEncoder(nn.Module):
    """One ReLU hidden layer from an image to the mean and log-variance of q(z | x): (..., D) -> two of (..., L)."""

    def __init__(self, data_dim, hidden, latent_dim):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(data_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent_dim))

    def forward(self, x):
        return self.body(x).chunk(2, dim=-1)


class MLPDecoder(nn.Module):
    """One ReLU hidden layer from a latent point to the log-odds of every pixel: (..., L) -> (..., D)."""

    def __init__(self, latent_dim, hidden, data_dim):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, data_dim))

    def forward(self, z):
        return self.body(z)


class VAE(nn.Module):
    """p(z) = N(0, I), p(x | z) = Bernoulli(decoder(z)), q(z | x) = N(encoder(x)). Kingma and Welling (2014)."""

    def __init__(self, encoder, decoder, latent_dim):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | z) + log p(z): (B, D) and (..., B, L) -> (..., B), nats."""
        return log_bernoulli(x, self.decoder(z)) + log_standard_normal(z)

    def log_weights(self, x, num_samples, *, generator=None):
        """log w = log p(x, z) - log q(z | x) at K draws from q: (B, D) -> (K, B), nats.

        ``bounds.elbo`` and ``bounds.iwae`` turn it into bounds. Differentiable by reparameterisation.
        """
        mu, log_var = self.encoder(x)
        z = sample_normal(mu.expand(num_samples, *mu.shape), log_var, generator=generator)
        return self.log_joint(x, z) - log_normal(z, mu, log_var)

    def elbo(self, x, *, generator=None):
        """One-draw estimate of the bound, reconstruction minus KL: (B, D) -> (B,), nats.

        The KL is in closed form; only E_q[log p(x | z)] is sampled. Kingma and Welling (2014), eq. 10.
        """
        mu, log_var = self.encoder(x)
        z = sample_normal(mu, log_var, generator=generator)
        return log_bernoulli(x, self.decoder(z)) - kl_standard_normal(mu, log_var)

    def sample(self, n, *, generator=None):
        """Logits of n images generated from the prior, z ~ N(0, I): (n, D)."""
        weight = next(self.parameters())
        z = torch.randn(n, self.latent_dim, generator=generator, dtype=weight.dtype, device=weight.device)
        return self.decoder(z)

    def grid_log_joint(self, points):
        """Decode a latent grid once; return the function that gives log p(x, z) of any images on it.

        points: (n1, n2, L). The function maps (b, D) to (b, n1, n2), nats. All images share the logits l(z): what
        is left of log p(x | z) = x . l(z) - sum_d log(1 + exp l_d(z)) is one matrix product for each batch.
        """
        with torch.no_grad():
            logits = self.decoder(points.flatten(0, 1))
            constant = log_standard_normal(points).flatten() - softplus(logits).sum(-1)
        return lambda x: torch.addmm(constant, x, logits.T).unflatten(-1, points.shape[:2])
