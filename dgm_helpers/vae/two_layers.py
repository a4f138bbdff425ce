"""A variational autoencoder with two layers of latent variables.

B is the batch, D the number of pixels, K the number of draws; h1 has L1 components and h2 has L2. Both are kept
together as z = (h1, h2), with L1 + L2 components.
"""

import torch
from torch import nn
from torch.func import functional_call

from dgm_helpers.arguments import whole
from dgm_helpers.probability.densities import log_normal, log_standard_normal, sample_normal
from dgm_helpers.vae.likelihoods import Bernoulli
from dgm_helpers.vae.model import VAE


def _held(network, h):
    """The network's output with its parameters as constants: the gradient goes on to h alone."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (h,))


class TwoLayerVAE(nn.Module):
    r"""h2 ~ N(0, I), h1 | h2 ~ N(prior(h2)), x | h1 ~ Bernoulli(decoder(h1)). Burda et al. (2016), section 5.

    q(h1, h2 | x) = N(h1; encoder(x)) N(h2; upper_encoder(h1)). encoder, upper_encoder and prior return the mean and the
    log-variance of a diagonal Gaussian, such as an ``MLPEncoder``; decoder returns log-odds. latent_dims: (L1, L2).
    """

    def __init__(self, encoder, upper_encoder, prior, decoder, latent_dims, *, log_likelihood=None):
        super().__init__()
        self.encoder, self.upper_encoder, self.prior, self.decoder = encoder, upper_encoder, prior, decoder
        self.latent_dims = tuple(latent_dims)
        self.log_likelihood = log_likelihood or Bernoulli()

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
        num_samples = whole("num_samples", num_samples, 1)
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

    log_weights = VAE.log_weights

    def sample_latent(self, n, *, generator=None):
        """n draws from p(h2) p(h1 | h2), the upper layer first: (n, L1 + L2)."""
        weight = next(self.parameters())
        h2 = torch.randn(n, self.latent_dims[1], generator=generator, dtype=weight.dtype, device=weight.device)
        return torch.cat([sample_normal(*self.prior(h2), generator=generator), h2], -1)

    def logits(self, z):
        """Log-odds of the pixels, which know h1 alone: (..., L1 + L2) -> (..., D)."""
        return self.decoder(z[..., : self.latent_dims[0]])

    def mean(self, z):
        """Pixel probabilities E[x | z]: (..., L1 + L2) -> (..., D)."""
        return self.log_likelihood.mean(self.logits(z))

    @torch.no_grad()
    def sample(self, n, *, generator=None):
        """n draws of x from the model, h2 before h1 before x: (n, D), without gradient."""
        return self.log_likelihood.sample(self.logits(self.sample_latent(n, generator=generator)), generator=generator)
