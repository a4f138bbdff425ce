"""Hamiltonian Monte Carlo, many chains at once: the integrator, one transition, and the sampler.

In memory the chains lie side by side, (D, C), so that arithmetic runs along them; densities are shown (C, D).
"""

import functools
import warnings
from typing import NamedTuple

import torch

from dgm_helpers.arguments import tensors, whole
from dgm_helpers.training.cuda_graphs import Replayed
from dgm_helpers.training.speed import reason, took

UNROLLED = 64  # leapfrog steps, about, in one call of the compiled function: more run faster and compile longer


class HMCResult(NamedTuple):
    """What sample_hmc returns: per chain, the draws, the share of accepted proposals among them, and the number of
    trajectories, warm-up included, that were rejected because their energy was not finite at the end."""

    samples: torch.Tensor  # (C, num_samples, D)
    accept_rate: torch.Tensor  # (C,)
    num_nonfinite: torch.Tensor  # (C,)


def _gradient(log_density, position):
    """Gradient of each chain's log-density at its own position, ``(C, D)``: that of the sum, as rows do not mix."""
    if torch.compiler.is_compiling():  # the compiler wants torch.func; without it, plain autograd is twice as fast
        return torch.func.grad(lambda q: log_density(q).sum())(position)
    with torch.enable_grad():
        position = position.detach().requires_grad_()
        return torch.autograd.grad(log_density(position).sum(), position)[0]


def leapfrog(log_density, position, momentum, *, step_size, num_steps):
    r"""Follow Hamilton's equations for :math:`H(q, p) = -\log\pi(q) + \tfrac12|p|^2` in steps of size :math:`\epsilon`.

    Each step is :math:`p \leftarrow p + \tfrac\epsilon2\nabla\log\pi(q)`, :math:`q \leftarrow q + \epsilon p`, and the
    first again; half steps that meet are taken as one. position, momentum: ``(C, D)``; log_density, unnormalised, maps
    ``(C, D)`` to ``(C,)`` row by row. Returns the new pair. Neal (2011), section 5.2.3.
    """
    if not torch.compiler.is_compiling():
        tensors(floating=True, position=position, momentum=momentum)
        num_steps = whole("num_steps", num_steps, 1)
        if position.shape != momentum.shape:
            came = f"{tuple(position.shape)} and {tuple(momentum.shape)}"
            raise ValueError(f"expected position and momentum of one shape (C, D), got {came}")
    momentum = momentum + 0.5 * step_size * _gradient(log_density, position)
    for _ in range(num_steps - 1):
        position = position + step_size * momentum
        momentum = momentum + step_size * _gradient(log_density, position)
    position = position + step_size * momentum
    momentum = momentum + 0.5 * step_size * _gradient(log_density, position)
    return position, momentum


def hmc_step(log_density, position, log_p, momentum, log_u, *, step_size, num_steps):
    r"""One transition: follow the dynamics to :math:`(q', p')`, and accept if :math:`\log u < H(q, p) - H(q', p')`.

    position: ``(C, D)``, and its log-density log_p: ``(C,)``. momentum: ``(C, D)``, draws of N(0, I). log_u: ``(C,)``,
    logarithms of uniform draws. Returns position and log_p after it, which chains moved, and whose energy was finite at
    the end. A rejected proposal repeats the position. A broken trajectory is rejected: comparing with NaN gives false.
    """
    proposal, end = leapfrog(log_density, position, momentum, step_size=step_size, num_steps=num_steps)
    proposal_log_p = log_density(proposal)
    log_ratio = proposal_log_p - log_p + 0.5 * (momentum**2 - end**2).sum(-1)  # H - H'
    finite = log_ratio.isfinite()
    accepted = finite & (log_u < log_ratio)
    position = torch.where(accepted.unsqueeze(-1), proposal, position)
    log_p = torch.where(accepted, proposal_log_p, log_p)
    return position, log_p, accepted, finite


def _block(log_density, step_size, num_steps, position, log_p, momenta, log_u):
    """hmc_step for each row of momenta ``(n, D, C)`` and log_u ``(n, C)``: what is compiled or recorded as a whole.

    Returns log_p after the last one, and of each the position ``(n, D, C)``, the chains that moved and the sound ones.
    """
    rows = []
    for momentum, u in zip(momenta, log_u, strict=True):
        position, log_p, accepted, finite = hmc_step(
            log_density, position, log_p, momentum.T, u, step_size=step_size, num_steps=num_steps
        )
        rows.append((position.T, accepted, finite))
    return log_p, *(torch.stack(part) for part in zip(*rows, strict=True))


def _compiled(function):
    """``torch.compile(function)``; after a failure, for want of a C++ compiler say, the function, with a warning."""
    ways = [torch.compile(function, dynamic=False)]

    def call(*arguments):
        if ways:
            try:
                result = ways[0](*arguments)
                took("compilation")
                return result
            except Exception as error:
                ways.clear()
                result = function(*arguments)  # an error of the density itself comes again here
                took("compilation", reason(error), instead="sampling without compilation")
                return result
        return function(*arguments)

    return call


def _check(log_density, start, step_size, **counts):
    """Say what is wrong with the arguments; return the log-density at the start."""
    if not isinstance(start, torch.Tensor) or start.ndim != 2 or 0 in start.shape or not start.is_floating_point():
        came = f"{tuple(start.shape)} of {start.dtype}" if isinstance(start, torch.Tensor) else type(start).__name__
        raise ValueError(f"expected start of shape (C, D), C chains of dimension D >= 1 in floating point, got {came}")
    for name, (value, smallest) in counts.items():
        whole(name, value, smallest)
    if not ((step_size > 0) & step_size.isfinite()).all():
        raise ValueError(f"expected a finite step_size > 0, got {step_size.tolist()}")
    try:
        fits = torch.broadcast_shapes(step_size.shape, start.shape) == start.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"expected step_size to broadcast to {tuple(start.shape)}, got {tuple(step_size.shape)}")
    with torch.enable_grad():
        log_p = log_density(start.detach().requires_grad_())
    if log_p.shape != start.shape[:1]:
        raise ValueError(f"expected log_density to map (C, D) to {tuple(start.shape[:1])}, got {tuple(log_p.shape)}")
    if not log_p.requires_grad:
        raise ValueError("expected a log_density that torch can differentiate, got one cut off from its argument")
    finite = log_p.isfinite() & _gradient(log_density, start).isfinite().all(-1)
    if not finite.all():
        chains = (~finite).nonzero().flatten().tolist()
        raise ValueError(f"expected a finite log-density and gradient at the start, not so in chains {chains[:10]}")
    return log_p.detach()


@torch.no_grad()
def sample_hmc(
    log_density, start, *, step_size, num_steps, num_samples, num_warmup=0, generator=None, compile=False
):  # fmt: skip
    r"""Draw from :math:`\pi`, known up to a factor as log_density, with C chains at once.

    A transition draws :math:`p \sim \mathcal N(0, I)`, follows num_steps leapfrog steps to :math:`(q', p')` and moves
    to :math:`q'` with probability :math:`\min(1, e^{H(q, p) - H(q', p')})`; else the old position counts once more.
    Nothing is tuned; the first num_warmup draws are dropped. start: ``(C, D)``; log_density: ``(C, D) -> (C,)``, row by
    row. step_size: a number, or a tensor that broadcasts to ``(C, D)``; ``(C, 1)`` gives each chain its own.
    compile: fuse transitions with ``torch.compile``, slow once (half a minute), fast ever after; where that fails, for
    want of a C++ compiler say, the sampler runs without. On a GPU transitions are recorded as a CUDA graph, where
    log_density allows; its Python code then runs a few times only. Returns an HMCResult. A trajectory whose energy at
    the end is not finite (a NaN gradient on the way, an overflow, zero density) is rejected and counted, with one
    warning.
    Raises ValueError if the log-density or its gradient is not finite at the start, shapes do not fit, or a step size
    or count is out of range. Duane et al. (1987); Neal (2011), section 5.3.2.
    """
    if isinstance(start, torch.Tensor):  # else _check says so
        step_size = torch.as_tensor(step_size, dtype=start.dtype, device=start.device)
    counts = {"num_steps": (num_steps, 1), "num_samples": (num_samples, 1), "num_warmup": (num_warmup, 0)}
    log_p = _check(log_density, start, step_size, **counts)
    C, D = start.shape
    num_steps, num_samples, num_warmup = (int(value) for value, _ in counts.values())
    position = start.detach().T.contiguous().T
    advance = functools.partial(_compiled(_block) if compile else _block, log_density, step_size, num_steps)
    advance = Replayed(advance) if step_size.is_cuda else advance
    samples, accepted, finite = [], [], []
    total = num_warmup + num_samples
    block = max(1, UNROLLED // num_steps)
    for first in range(0, total, block):  # whole blocks of random numbers: a longer run begins like a shorter one
        momenta = torch.randn(block, D, C, generator=generator, dtype=start.dtype, device=start.device)
        log_u = torch.rand(block, C, generator=generator, dtype=start.dtype, device=start.device).log()
        log_p, positions, moved, sound = advance(position, log_p, momenta, log_u)
        position = positions[-1].T
        samples.append(positions[max(0, num_warmup - first) : total - first])
        accepted.append(moved)
        finite.append(sound)
    accept_rate = torch.cat(accepted)[num_warmup:total].to(start.dtype).mean(0)
    nonfinite = (~torch.cat(finite)[:total]).sum(0)
    if nonfinite.any():
        message = f"{int(nonfinite.sum())} of {total * C} trajectories ended where the energy is not finite: rejected"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return HMCResult(torch.cat(samples).permute(2, 0, 1), accept_rate, nonfinite)
