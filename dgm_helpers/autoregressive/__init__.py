"""Autoregressive models of bits: MADE."""

from dgm_helpers.autoregressive.made import MADE, MaskedLinear, hidden_degrees, made_masks

__all__ = [
    "MADE", "MaskedLinear", "hidden_degrees", "made_masks",
]  # fmt: skip
