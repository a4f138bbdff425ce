"""A variational autoencoder, written as its equations: encoder, decoder, bound.

B is the batch, D the number of pixels, L the latent dimension, K the number of draws per example.
"""

import warnings

import torch
from torch import nn

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.probability.densities import (
    kl_standard_normal,
    log_normal,
    log_standard_normal,
    sample_normal,
)
from dgm_helpers.probability.quadrature import grid_2d
from dgm_helpers.vae.likelihoods import Bernoulli
from dgm_helpers.vae.networks import MLPDecoder, MLPEncoder, widths
from dgm_helpers.vae.tiles import decode, posterior_sums

BORDER = 1e-4  # of an image's posterior mass on the grid's outermost points: with more, log p(x) is too low


class VAE(nn.Module):
    """p(z) = N(0, I), p(x | z) = Bernoulli(decoder(z)), q(z | x) = N(encoder(x)). Kingma and Welling (2014).

    log_likelihood: ``log p(x | z)`` as a function of x and the decoder's output, (..., D) and (..., D) -> (...), nats;
    ``Bernoulli()`` unless another is given. ``mean`` and ``sample`` need its methods of these names.
    """

    def __init__(self, encoder, decoder, latent_dim, *, log_likelihood=None):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim
        self.log_likelihood = log_likelihood or Bernoulli()

    @classmethod
    def mlp(cls, data_dim, hidden, latent_dim, *, activation=nn.ReLU):
        """The common model, of bits. hidden: a width, or the encoder's widths; the decoder has them in reverse."""
        encoder = MLPEncoder(data_dim, hidden, latent_dim, activation=activation)
        return cls(encoder, MLPDecoder(latent_dim, widths(hidden)[::-1], data_dim, activation=activation), latent_dim)

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | z) + log p(z): (B, D) and (..., B, L) -> (..., B), nats."""
        return self.log_likelihood(x, self.decoder(z)) + log_standard_normal(z)

    def draws(self, x, num_samples, *, held=False, generator=None):
        """K draws from q(z | x) and their log q: (B, D) -> (K, B, L) and (K, B), nats. Reparameterised.

        held: take q's parameters as constants in log q, so that its gradient is the one along the draw alone.
        """
        num_samples = whole("num_samples", num_samples, 1)
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

    def sample_latent(self, n, *, generator=None):
        """n draws from the prior, z ~ N(0, I): (n, L)."""
        like = next(self.parameters())
        n = whole("n", n, 0)
        return torch.randn(n, self.latent_dim, generator=generator, dtype=like.dtype, device=like.device)

    def logits(self, z):
        """The pixels' log-odds, given z: (..., L) -> (..., D)."""
        return self.decoder(z)

    def mean(self, z):
        """E[x | z], such as the pixels' probabilities: (..., L) -> (..., D)."""
        return self.log_likelihood.mean(self.decoder(z))

    def sample(self, n, *, generator=None):
        """n draws of x from the model, z ~ N(0, I) first, then x ~ p(x | z): (n, D), without gradient."""
        with torch.no_grad():
            output = self.decoder(self.sample_latent(n, generator=generator))
            return self.log_likelihood.sample(output, generator=generator)

    @torch.no_grad()
    def grid_log_joint(self, points):
        """Decode a latent grid once; return the function that gives log p(x, z) of any images on it.

        points: (n1, n2, L). The function maps (b, D) to (b, n1, n2), nats. All images share the logits l(z): what
        is left of log p(x | z) = x . l(z) - sum_d log(1 + exp l_d(z)) is one matrix product for each batch.
        Raises ValueError for a likelihood that is not the Bernoulli's.
        """
        logits, constant = decode(self, points.flatten(0, 1))
        return lambda x: torch.addmm(-constant, x, logits.T).unflatten(-1, points.shape[:2])

    @torch.no_grad()
    def log_evidence(self, bits, *, half_width=6.0, spacing=0.05):
        r"""Exact :math:`\log p(x) = \log \int p(x, z)\,dz`, by a grid over a square: (N, D) -> (N,), nats.

        The square is [-half_width, half_width]^2. Compare other widths and spacings to know the error. Of it
        only the tiles are visited where an image's posterior can be (``tiles``).
        Warns if more than ``BORDER`` of an image's posterior lies at the border. Raises ValueError for another latent
        dimension, or data that are not bits; bits may have any dtype.
        """
        if self.latent_dim != 2:
            raise ValueError(f"expected a latent space of 2 dimensions, this model's has {self.latent_dim}")
        tensors(bits=bits)
        if bits.ndim != 2:
            raise ValueError(f"expected bits of shape (N, D), got {tuple(bits.shape)}")
        if not ((bits == 0) | (bits == 1)).all():
            raise ValueError(f"expected bits, got values from {float(bits.min()):g} to {float(bits.max()):g}")
        bits = bits.to(next(self.parameters()).dtype)  # whole numbers and bools are bits too
        grid = grid_2d(-half_width, half_width, spacing, dtype=bits.dtype, device=bits.device)
        sums = posterior_sums(self, bits, grid)
        outside = int((sums.border > BORDER).sum())
        if outside:
            message = f"{outside} of {len(bits)} posteriors reach the border of the grid of half-width {half_width:g}"
            warnings.warn(f"{message}: their log p(x) is too low", stacklevel=3)  # past no_grad
        return sums.log_p
