"""Normalizing flows: invertible maps with a cheap log-determinant, composed on a standard normal base.

A layer's ``forward(z)`` and ``inverse(x)`` take points ``(B, dim)`` and return points ``(B, dim)`` with log|det| of the
Jacobian of the direction called, ``(B,)``. All nonlinearities are smooth, so each layer is a diffeomorphism.
Points of another shape raise ValueError.
"""

from itertools import pairwise

import torch
from torch import nn

from dgm_helpers.arguments import rows, whole
from dgm_helpers.probability.densities import log_standard_normal, softplus


class _Layer(nn.Module):
    """What all layers share: the dimension, the check of a batch, and no inverse unless the layer gives one."""

    def __init__(self, dim):
        super().__init__()
        self.dim = whole("dim", dim, 2)

    def _check(self, points, like):
        rows(points, self.dim, like, batch=True)

    def inverse(self, x):
        """Raise NotImplementedError: this layer is invertible, but its inverse has no closed form."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse in closed form")


class Planar(_Layer):
    r"""Planar layer, :math:`x = z + \hat u \tanh(w^\top z + b)`, determinant :math:`1 + \tanh'(\cdot)\,w^\top\hat u`.

    ``u_hat`` keeps the layer invertible. Rezende and Mohamed (2015), eq. 10 to 12 and appendix A.1.
    """

    def __init__(self, dim):
        super().__init__(dim)
        self.w = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.u = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.b = nn.Parameter(torch.zeros(()))

    def u_hat(self):
        r"""Return :math:`\hat u = u + (m - 1 - w^\top u)\,w/\|w\|^2` and :math:`m = \operatorname{softplus}(w^\top u)`.

        So :math:`1 + w^\top\hat u = m > 0`. For w = 0 the layer is a translation, which needs no constraint: then
        :math:`\hat u = u` and m = 1.
        """
        wu, ww = self.w @ self.u, self.w @ self.w
        one = torch.ones_like(ww)  # on the card already: a number would be sent there at every step
        m = torch.where(ww > 0, softplus(wu), one)
        return self.u + (m - 1 - wu) * self.w / torch.where(ww > 0, ww, one), m

    def forward(self, z):
        """Move along u_hat. log|det| is taken from m, so nothing cancels: it is finite unless softplus underflows."""
        self._check(z, self.w)
        u_hat, m = self.u_hat()
        h = torch.tanh(z @ self.w + self.b)
        return z + h.unsqueeze(-1) * u_hat, torch.log(h**2 + (1 - h**2) * m)  # 1 + (1 - h^2)(m - 1), h^2 = 1 - h'


class _Coupling(_Layer):
    """Splits a point in two parts; the kept part decides, through a small network, what happens to the other."""

    def __init__(self, dim, outputs, hidden, flip):
        super().__init__(dim)
        cut = dim // 2
        self.sizes, self.flip = [cut, dim - cut], flip
        kept, changed = (dim - cut, cut) if flip else (cut, dim - cut)
        widths = [kept, *hidden]
        layers = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.Tanh()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], outputs * changed))
        nn.init.normal_(self.net[-1].weight, std=0.01)  # starts close to the identity
        nn.init.zeros_(self.net[-1].bias)

    def _split(self, points):
        self._check(points, self.net[0].weight)
        first, second = points.split(self.sizes, -1)
        return (second, first) if self.flip else (first, second)

    def _join(self, kept, changed):
        return torch.cat((changed, kept) if self.flip else (kept, changed), -1)


class AdditiveCoupling(_Coupling):
    r"""Additive coupling, :math:`x_a = z_a,\ x_b = z_b + t(z_a)`, with log|det| = 0. Dinh et al. (2015), section 3.2.

    a is the first dim // 2 coordinates, b the rest; ``flip`` exchanges the roles. hidden: widths of the tanh network t.
    """

    def __init__(self, dim, *, hidden=(32, 32), flip=False):
        super().__init__(dim, 1, hidden, flip)

    def forward(self, z):
        kept, changed = self._split(z)
        return self._join(kept, changed + self.net(kept)), z.new_zeros(len(z))

    def inverse(self, x):
        kept, changed = self._split(x)
        return self._join(kept, changed - self.net(kept)), x.new_zeros(len(x))


class AffineCoupling(_Coupling):
    r"""Affine coupling, :math:`x_a = z_a,\ x_b = z_b \odot e^{s(z_a)} + t(z_a)`, log|det| :math:`= \sum_j s_j`.

    Arguments as in AdditiveCoupling; one network gives s and t. Dinh et al. (2017), eq. 4 to 8.
    """

    def __init__(self, dim, *, hidden=(32, 32), flip=False):
        super().__init__(dim, 2, hidden, flip)

    def forward(self, z):
        kept, changed = self._split(z)
        s, t = self.net(kept).chunk(2, -1)
        return self._join(kept, changed * torch.exp(s) + t), s.sum(-1)

    def inverse(self, x):
        kept, changed = self._split(x)
        s, t = self.net(kept).chunk(2, -1)
        return self._join(kept, (changed - t) * torch.exp(-s)), -s.sum(-1)


class Scaling(_Layer):
    r"""Positive rescaling, :math:`x = e^s \odot z`, log|det| :math:`= \sum_j s_j`. Dinh et al. (2015), section 3.3."""

    def __init__(self, dim):
        super().__init__(dim)
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, z):
        self._check(z, self.log_scale)
        return z * torch.exp(self.log_scale), self.log_scale.sum().expand(len(z))

    def inverse(self, x):
        self._check(x, self.log_scale)
        return x * torch.exp(-self.log_scale), -self.log_scale.sum().expand(len(x))


class Flow(_Layer):
    """Layers in the order in which they are applied to a standard normal draw; itself a layer. None: the identity."""

    def __init__(self, layers, dim):
        super().__init__(dim)
        if not all(isinstance(layer, _Layer) for layer in layers):
            raise ValueError(f"expected a list of layers, got {layers!r:.60}")
        wrong = [f"layer {i} has dim {layer.dim}" for i, layer in enumerate(layers) if layer.dim != dim]
        if wrong:
            raise ValueError(f"expected layers of dim {dim}, got: {', '.join(wrong)}")
        self.layers = nn.ModuleList(layers)

    def forward(self, z):
        self._check(z, next(self.parameters(), z))
        log_det = z.new_zeros(len(z))
        for layer in self.layers:
            z, step = layer(z)
            log_det = log_det + step
        return z, log_det

    def inverse(self, x):
        self._check(x, next(self.parameters(), x))
        log_det = x.new_zeros(len(x))
        for layer in reversed(self.layers):
            x, step = layer.inverse(x)
            log_det = log_det + step
        return x, log_det

    def sample(self, n, *, generator=None):
        """Draw n points, ``(n, dim)``, differentiable in the parameters."""
        n, like = whole("n", n, 0), next(self.parameters())
        return self(torch.randn(n, self.dim, generator=generator, dtype=like.dtype, device=like.device))[0]

    def log_prob(self, x):
        """Normalised log-density of given points, ``(B, dim) -> (B,)``, in nats. Needs every layer's inverse."""
        z, log_det = self.inverse(x)
        return log_standard_normal(z) + log_det
