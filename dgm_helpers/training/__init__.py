"""The training loop, stored runs, and what makes training fast."""

from dgm_helpers.training.fingerprint import digest
from dgm_helpers.training.device import best_device, device_name
from dgm_helpers.training.fit import Draws, History, adam, fit, one_cycle
from dgm_helpers.training.run import Run, Trained
from dgm_helpers.training.soap import SOAP
from dgm_helpers.training.speed import ways
from dgm_helpers.training.stored import cache_dir, read_file, weights_dir

__all__ = [
    "SOAP", "Draws", "History", "Run", "Trained", "adam", "best_device", "cache_dir", "device_name", "digest",
    "fit", "one_cycle", "read_file", "ways", "weights_dir",
]  # fmt: skip
