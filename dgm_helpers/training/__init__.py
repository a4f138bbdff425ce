"""The training loop, stored runs, and what makes training fast."""

from dgm_helpers.training.fit import History, adam, best_device, device_name, fit, one_cycle
from dgm_helpers.training.measuring import Values, measured
from dgm_helpers.training.run import digest, fit_or_load, fit_or_load_half, read_weights, weights_dir
from dgm_helpers.training.soap import SOAP

__all__ = [
    "SOAP",
    "History",
    "Values",
    "adam",
    "best_device",
    "device_name",
    "digest",
    "fit",
    "fit_or_load",
    "fit_or_load_half",
    "measured",
    "one_cycle",
    "read_weights",
    "weights_dir",
]
