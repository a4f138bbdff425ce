"""Multilayer perceptrons as encoder and decoder. D is the number of pixels, L the latent dimension."""

import itertools

from torch import nn

from dgm_helpers.arguments import rows, whole


def mlp(widths, activation=nn.ReLU):
    """Linear layers of these widths, input and output included, with an activation between them."""
    layers, widths = [], [whole("width", n, 1) for n in widths]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [activation(), nn.Linear(a, b)] if i else [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def widths(hidden):
    """Of the hidden layers, as a list: hidden is such a list, or the width of the only one."""
    return [whole("hidden", n, 1) for n in (hidden if isinstance(hidden, (list, tuple)) else [hidden])]


class MLPEncoder(nn.Module):
    """From an image to the mean and log-variance of q(z | x): (..., D) -> two of (..., L).

    hidden: the width of one hidden layer, or a list of widths.
    """

    def __init__(self, data_dim, hidden, latent_dim, *, activation=nn.ReLU):
        super().__init__()
        self.body = mlp([data_dim, *widths(hidden), 2 * whole("latent_dim", latent_dim, 1)], activation)

    def forward(self, x):
        rows(x, self.body[0].in_features, self.body[0].weight, "images")
        return self.body(x).chunk(2, dim=-1)


class MLPDecoder(nn.Module):
    """From a latent point to one parameter for each pixel, such as its log-odds: (..., L) -> (..., D).

    hidden: the width of one hidden layer, or a list of widths, from the latent side.
    """

    def __init__(self, latent_dim, hidden, data_dim, *, activation=nn.ReLU):
        super().__init__()
        self.body = mlp([latent_dim, *widths(hidden), data_dim], activation)

    def forward(self, z):
        rows(z, self.body[0].in_features, self.body[0].weight, "latent points")
        return self.body(z)
