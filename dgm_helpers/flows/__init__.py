"""Normalizing flows: layers, and variational inference with them."""

from dgm_helpers.flows.elbo import fit_flow, log_weight
from dgm_helpers.flows.layers import AdditiveCoupling, AffineCoupling, Flow, Planar, Scaling

__all__ = [
    "AdditiveCoupling",
    "AffineCoupling",
    "Flow",
    "Planar",
    "Scaling",
    "fit_flow",
    "log_weight",
]
