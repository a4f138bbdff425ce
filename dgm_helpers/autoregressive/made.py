"""MADE, the masked autoencoder for distribution estimation (Germain et al. 2015): an autoregressive model of bits.

Every input has a degree, its place in the order: 1 is drawn first, ``dim`` last. Every hidden unit has a degree too,
and may see the inputs of at most that degree. The masks delete the connections that would break this.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from dgm_helpers.arguments import rows as check_rows
from dgm_helpers.arguments import tensors, whole
from dgm_helpers.probability.densities import log_bernoulli, sample_bernoulli


def made_masks(degrees):
    r"""Masks (out, in), True where a connection survives, from the degrees of the inputs and of every hidden layer.

    :math:`M^l_{kj} = [m^l_k \ge m^{l-1}_j]` for hidden layers, :math:`M^{\text{out}}_{dj} = [m^0_d > m^L_j]` for the
    output and :math:`M^{\text{direct}}_{dj} = [m^0_d > m^0_j]` for connections that skip the hidden layers.

    degrees: list of 1-D integer tensors, :math:`m^0, m^1, ..., m^L`. Returns the list of the L + 1 masks, and the
    direct one. Germain et al. (2015), section 4.
    """
    if len(degrees) == 0:
        raise ValueError("expected the degrees of the inputs and of every hidden layer, got none")
    tensors(**{f"degrees[{i}]": m for i, m in enumerate(degrees)})
    inputs = degrees[0]
    hidden = [later[:, None] >= earlier for earlier, later in pairwise(degrees)]
    output = inputs[:, None] > degrees[-1]
    direct = inputs[:, None] > inputs
    return [*hidden, output], direct


def hidden_degrees(dim, hidden, *, generator=None):
    """Degrees from 1 to dim - 1 for each hidden layer: spread evenly, or drawn uniformly if a generator is given.

    Even spreading reaches every degree as soon as a layer has dim - 1 units. Returns a list of 1-D tensors.
    """
    dim, hidden = whole("dim", dim, 1), [whole("width", width, 1) for width in hidden]
    top = max(dim - 1, 1)  # one bit alone has no useful degree: its output sees nothing
    if generator is None:
        return [1 + torch.arange(width) * top // width for width in hidden]
    return [torch.randint(1, top + 1, (width,), generator=generator) for width in hidden]


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a fixed mask (out, in): (..., in) -> (..., out)."""

    def __init__(self, mask, bias=True):
        tensors(mask=mask)
        if mask.ndim != 2:
            raise ValueError(f"expected a mask (out, in), got {tuple(mask.shape)}")
        super().__init__(mask.shape[1], mask.shape[0], bias=bias)
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def masked_weight(self):
        return self.weight * self.mask

    def forward(self, x):
        return F.linear(x, self.masked_weight(), self.bias)


class MADE(nn.Module):
    r"""An autoregressive distribution over bits, :math:`p(x) = \prod_d p(x_d \mid x_j : m^0_j < m^0_d)`, ReLU inside.

    hidden: list of widths. order: the input indices in the order they are drawn (default 0, 1, ..., dim - 1).
    degrees: one integer tensor for each hidden layer (default ``hidden_degrees(dim, hidden, generator=generator)``).
    direct: whether to add masked connections from the inputs to the outputs. Raises ValueError if order is not a
    permutation, or the widths and degrees do not fit.
    """

    def __init__(self, dim, hidden, *, order=None, degrees=None, direct=False, generator=None):
        super().__init__()
        dim = whole("dim", dim, 1)
        order = torch.arange(dim) if order is None else torch.tensor([whole("order", i, 0) for i in order])
        if sorted(order.tolist()) != list(range(dim)):
            raise ValueError(f"expected order to be a permutation of 0, ..., {dim - 1}, got {order.tolist()}")
        if len(hidden) == 0 or min(hidden) < 1:
            raise ValueError(f"expected a list of at least one positive width, got {hidden=}")
        degrees = hidden_degrees(dim, hidden, generator=generator) if degrees is None else degrees
        if [tuple(m.shape) for m in degrees] != [(width,) for width in hidden]:
            raise ValueError(
                f"expected degrees of shapes (width,) for {hidden=}, got {[tuple(m.shape) for m in degrees]}"
            )
        self.dim = dim
        self.register_buffer("order", order, persistent=False)
        self.degrees = [torch.argsort(order) + 1, *degrees]
        masks, direct_mask = made_masks(self.degrees)
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.direct = MaskedLinear(direct_mask, bias=False) if direct else None

    def forward(self, x):
        """Log-odds of every bit given those before it in the order: (B, dim) -> (B, dim)."""
        check_rows(x, self.dim, self.layers[0].weight, "x", batch=True)
        h = x
        for layer in self.layers[:-1]:
            h = torch.relu(layer(h))
        logits = self.layers[-1](h)
        return logits if self.direct is None else logits + self.direct(x)

    def log_prob(self, x):
        """log p(x) of bits x: (B, dim) -> (B,), nats, in one pass. Germain et al. (2015), section 3."""
        return log_bernoulli(x, self(x).to(x.dtype))  # autocast may give bfloat16 logits: sum them in x's precision

    def sample(self, n, *, generator=None):
        """n draws from p, bit by bit in the order: (n, dim)."""
        return self.complete(self.layers[0].weight.new_zeros(whole("n", n, 0), self.dim), 0, generator=generator)

    @torch.no_grad()
    def complete(self, x, num_given, *, generator=None):
        """Keep the first num_given bits in the order of x (B, dim), and draw the others from p given them: (B, dim).

        A new bit changes one column of the first layer's input, so the layer is updated, not recomputed, and only one
        output is evaluated for each bit.
        """
        check_rows(x, self.dim, self.layers[0].weight, "x", batch=True)
        x, num_given = x.clone(), whole("num_given", num_given, 0)
        x[:, self.order[num_given:]] = 0
        columns, rows = self.layers[0].masked_weight().T.contiguous(), self.layers[-1].masked_weight()
        skip = None if self.direct is None else self.direct.masked_weight()
        first = self.layers[0](x)
        for d in self.order[num_given:].tolist():
            h = torch.relu(first)
            for layer in self.layers[1:-1]:
                h = torch.relu(layer(h))
            logit = h @ rows[d] + self.layers[-1].bias[d]
            if skip is not None:
                logit = logit + x @ skip[d]
            x[:, d] = sample_bernoulli(logit, generator=generator)
            first.addr_(x[:, d], columns[d])
        return x
