"""The data sets of the book: MNIST, what has its form, and the banana."""

from dgm_helpers.data.banana import (
    BANANA_MEAN, BANANA_SIZE, BANANA_STD, banana_data, banana_draws, banana_log_joint,
)  # fmt: skip
from dgm_helpers.data.mnist import (
    MNIST, binarise, data_dir, fixed_binarisation, grey_values, load_mnist, threshold,
)  # fmt: skip

__all__ = [
    "BANANA_MEAN", "BANANA_SIZE", "BANANA_STD", "MNIST", "banana_data", "banana_draws", "banana_log_joint",
    "binarise", "data_dir", "fixed_binarisation", "grey_values", "load_mnist", "threshold",
]  # fmt: skip
