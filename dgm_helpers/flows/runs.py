"""The flows on the banana: three kinds, and their stored trainings, which pages and benchmarks share."""

import copy
import functools

import torch

from dgm_helpers.data.banana import banana_log_joint
from dgm_helpers.flows.elbo import antithetic_pairs, flow_loss, log_weight
from dgm_helpers.flows.layers import AdditiveCoupling, AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.training.device import best_device
from dgm_helpers.training.fit import Draws, one_cycle
from dgm_helpers.training.run import Run

PEAK_LR = {"planar": 4e-2, "NICE": 2e-2, "RealNVP": 1e-2}  # of the one-cycle schedule
SEEDS = {"planar": (0, 1, 2), "NICE": (0,), "RealNVP": (0,)}  # the best start is kept


def planar_flow(layers=8):
    """Planar layers, Rezende and Mohamed (2015)."""
    return Flow([Planar(2) for _ in range(layers)], 2)


def nice(couplings=8, width=32):
    """Additive couplings that take turns, and a rescaling at the end, Dinh et al. (2015)."""
    turns = [AdditiveCoupling(2, hidden=(width, width), flip=k % 2 == 1) for k in range(couplings)]
    return Flow([*turns, Scaling(2)], 2)


def realnvp(couplings=4, width=32):
    """Affine couplings that take turns, Dinh et al. (2017)."""
    return Flow([AffineCoupling(2, hidden=(width, width), flip=k % 2 == 1) for k in range(couplings)], 2)


FLOWS = {"planar": planar_flow, "NICE": nice, "RealNVP": realnvp}


def banana_run(kind, seed=0, *, lr=None, epochs=100, log_joint=banana_log_joint, **sizes):
    """The training of one kind of flow from one seed: epochs of 100 steps, each with 100 draws in pairs z and -z.

    lr: the peak rate, that of the kind unless given. sizes: other numbers of layers or widths than the kind's.
    """
    lr, name = lr or PEAK_LR[kind], "_".join(map(str, (kind.lower(), *sizes.values())))
    return Run(
        f"banana_flows_{name}_seed_{seed}", model=functools.partial(FLOWS[kind], **sizes), loss=flow_loss(log_joint),
        data=Draws(antithetic_pairs(2), steps=100), seed=seed, epochs=epochs, batch_size=100, lr=lr,
        schedule=one_cycle(lr), device=best_device(),
    )  # fmt: skip


@torch.no_grad()
def banana_log_weights(flow, seed, n=100_000):
    """``log_weight`` at n fresh draws, ``(n,)``, float64 on the CPU. log p(y) minus its mean is KL(q || posterior)."""
    z = torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return log_weight(copy.deepcopy(flow).cpu().double(), banana_log_joint, z)


def best_start(kind, *, train=False):
    """Load a kind's runs. Returns the flow with the best bound on fresh draws, its history, and the bounds of all."""
    trained = [banana_run(kind, seed).load(train=train) for seed in SEEDS[kind]]
    bounds = [float(banana_log_weights(flow, seed=99).mean()) for flow, _ in trained]
    flow, history = trained[bounds.index(max(bounds))]
    return flow.cpu(), history, bounds
