"""A variational autoencoder with two layers of latent variables.

B is the batch, D the number of pixels, K the number of draws; h1 has L1 components and h2 has L2. Both are kept
together as z = (h1, h2), with L1 + L2 components.
"""

import torch
from torch import nn
from torch.func import functional_call

from dgm_helpers.probability.densities import log_bernoulli, log_normal, log_standard_normal, sample_normal


def _held(network, h):
    """The network's output with its parameters as constants: the gradient goes on to h alone."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (h,))


class TwoLayerVAE(nn.Module):
    r"""h2 ~ N(0, I), h1 | h2 ~ N(prior(h2)), x | h1 ~ Bernoulli(decoder(h1)). Burda et al. (2016), section 5.

    q(h1, h2 | x) = N(h1; encoder(x)) N(h2; upper_encoder(h1)). encoder, upper_encoder and prior return the mean and the
    log-variance of a diagonal Gaussian, such as an ``MLPEncoder``; decoder returns log-odds. latent_dims: (L1, L2).
    """

    def __init__(self, encoder, upper_encoder, prior, decoder, latent_dims, *, log_likelihood=log_bernoulli):
        super().__init__()
        self.encoder, self.upper_encoder, self.prior, self.decoder = encoder, upper_encoder, prior, decoder
        self.latent_dims = tuple(latent_dims)
        self.log_likelihood = log_likelihood

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | h1) + log p(h1 | h2) + log p(h2): (B, D) and (..., B, L1 + L2) -> (..., B), nats.

        Raises ValueError if z has another number of components.
        """
        if z.shape[-1] != sum(self.latent_dims):
            raise ValueError(f"expected z of shape (..., {sum(self.latent_dims)}), got {tuple(z.shape)}")
        h1, h2 = z.split(self.latent_dims, -1)
        return self.log_likelihood(x, self.decoder(h1)) + log_normal(h1, *self.prior(h2)) + log_standard_normal(h2)

    def draws(self, x, num_samples, *, held=False, generator=None):
        """K draws from q(z | x) and their log q: (B, D) -> (K, B, L1 + L2) and (K, B), nats. Reparameterised.

        held: take q's parameters as constants in log q, so that its gradient is the one along the draw alone. h1 then
        still moves the density of h2: it is a part of z.
        """
        mu1, log_var1 = self.encoder(x)
        h1 = sample_normal(mu1.expand(num_samples, *mu1.shape), log_var1, generator=generator)
        mu2, log_var2 = self.upper_encoder(h1)
        h2 = sample_normal(mu2, log_var2, generator=generator)
        z = torch.cat([h1, h2], -1)
        if held:
            h1, h2 = z.split(self.latent_dims, -1)
            mu1, log_var1 = mu1.detach(), log_var1.detach()
            mu2, log_var2 = _held(self.upper_encoder, h1)
        return z, log_normal(h1, mu1, log_var1) + log_normal(h2, mu2, log_var2)

    def log_weights(self, x, num_samples, *, generator=None):
        """log w = log p(x, z) - log q(z | x) at K draws from q: (B, D) -> (K, B), nats."""
        z, log_q = self.draws(x, num_samples, generator=generator)
        return self.log_joint(x, z) - log_q

    def sample(self, n, *, generator=None):
        """Decoder outputs of n images from the model, h2 before h1: (n, D)."""
        weight = next(self.parameters())
        h2 = torch.randn(n, self.latent_dims[1], generator=generator, dtype=weight.dtype, device=weight.device)
        return self.decoder(sample_normal(*self.prior(h2), generator=generator))
