"""Likelihoods of a VAE: p(x | z) from the decoder's output. Called, each gives log p(x | z) in nats."""

import math

import torch

from dgm_helpers.probability.densities import log_bernoulli, log_normal, sample_bernoulli, sample_normal


class Bernoulli:
    """p(x | z) of independent bits; the decoder's output is their log-odds."""

    def __call__(self, x, logits):
        return log_bernoulli(x, logits)

    mean = staticmethod(torch.sigmoid)
    sample = staticmethod(sample_bernoulli)


class Gaussian:
    """p(x | z) = N(mu, variance I) with a fixed variance; the decoder's output is mu."""

    def __init__(self, variance):
        if not variance > 0:
            raise ValueError(f"expected a variance > 0, got {variance}")
        self.log_var = math.log(variance)

    def __call__(self, x, mu):
        return log_normal(x, mu, x.new_full((), self.log_var))

    def mean(self, mu):
        return mu

    def sample(self, mu, *, generator=None):
        return sample_normal(mu, mu.new_full((), self.log_var), generator=generator)
