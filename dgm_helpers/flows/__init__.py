"""Normalizing flows: layers, variational inference with them, and the trainings on the banana."""

from dgm_helpers.flows.elbo import antithetic_pairs, fit_flow, flow_loss, log_weight
from dgm_helpers.flows.layers import AdditiveCoupling, AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.flows.runs import FLOWS, banana_log_weights, banana_run, best_start

__all__ = [
    "FLOWS", "AdditiveCoupling", "AffineCoupling", "Flow", "Planar", "Scaling", "antithetic_pairs",
    "banana_log_weights", "banana_run", "best_start", "fit_flow", "flow_loss", "log_weight",
]  # fmt: skip
