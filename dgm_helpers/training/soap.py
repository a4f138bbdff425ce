"""SOAP: Adam in a basis in which the gradient's second moments are diagonal. For long trainings of small networks."""

import torch


def _turned(x, left, right):
    """U^T x V: from the parameters' coordinates to the bases' (None is the identity)."""
    x = x if left is None else left.T @ x
    return x if right is None else x @ right


def _turned_back(x, left, right):
    """U x V^T."""
    x = x if left is None else left @ x
    return x if right is None else x @ right.T


class SOAP(torch.optim.Optimizer):
    r"""Shampoo with Adam in the preconditioner's eigenbasis. Vyas et al. (2025), algorithm 3.

    For a weight matrix with gradient G, U and V hold the eigenvectors of running means of :math:`G G^\top` and
    :math:`G^\top G`, and Adam's two moments are those of :math:`U^\top G V`. Where the loss is steep along some
    combinations of weights and flat along others, Adam sees one weight at a time, and this sees the combinations.

    params: tensors, all with gradients at every step. every: steps between two improvements of the bases, each by one
    step of orthogonal iteration; before the first they are the identity. longest: a side of a matrix longer than this
    keeps the identity, as do both sides of a tensor that is no matrix, for which this is Adam. Raises ValueError for
    impossible settings. ``state_dict`` does not hold the moments: a run cannot be continued from it.
    """

    def __init__(self, params, lr=3e-3, *, betas=(0.95, 0.99), eps=1e-8, every=100, longest=256):
        if lr < 0 or every < 1 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"expected lr >= 0, every >= 1 and 0 <= betas < 1, got {lr=}, {every=}, {betas=}")
        super().__init__(params, {"lr": lr})
        if len(self.param_groups) > 1:
            raise ValueError(f"expected one group of parameters, got {len(self.param_groups)}")
        self.betas, self.eps, self.every, self.count = betas, eps, every, 0
        self.parameters = self.param_groups[0]["params"]
        # one vector for all parameters: a step is then few kernels
        self.first = torch.cat([torch.zeros_like(p).flatten() for p in self.parameters])
        self.second = torch.zeros_like(self.first)
        self.bases, self.moments = [], []  # for each parameter, of its left and its right side
        for p in self.parameters:
            sides = [n if n <= longest else None for n in p.shape] if p.ndim == 2 else [None, None]
            self.bases.append([None if n is None else torch.eye(n, dtype=p.dtype, device=p.device) for n in sides])
            self.moments.append([None if n is None else p.new_zeros(n, n) for n in sides])

    def _split(self, vector):
        """The parts of a vector of all parameters, each in its parameter's shape."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]

    def _improve_bases(self):
        """One step of orthogonal iteration for every basis; the first moment turns along with it."""
        for basis, moments, first in zip(self.bases, self.moments, self._split(self.first), strict=True):
            momentum = _turned_back(first, *basis)
            basis[:] = [Q if Q is None else torch.linalg.qr(M @ Q)[0] for Q, M in zip(basis, moments, strict=True)]
            first.copy_(_turned(momentum, *basis))

    @torch.no_grad()
    def step(self):
        """One step; the learning rate is ``param_groups[0]["lr"]``, as schedules set it."""
        self.count += 1
        beta1, beta2 = self.betas
        for p, (left, right) in zip(self.parameters, self.moments, strict=True):
            if left is not None:
                left.mul_(beta2).addmm_(p.grad, p.grad.T, alpha=1 - beta2)
            if right is not None:
                right.mul_(beta2).addmm_(p.grad.T, p.grad, alpha=1 - beta2)
        turned = [_turned(p.grad, *basis).flatten() for p, basis in zip(self.parameters, self.bases, strict=True)]
        gradient = torch.cat(turned)
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        deviation = (self.second / (1 - beta2**self.count)).sqrt() + self.eps
        update = self.first / deviation * (self.param_groups[0]["lr"] / (1 - beta1**self.count))
        for p, part, basis in zip(self.parameters, self._split(update), self.bases, strict=True):
            p.sub_(_turned_back(part, *basis))
        if self.count % self.every == 0:
            self._improve_bases()
