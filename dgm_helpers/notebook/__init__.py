"""What notebooks show: checks, numbers, tables, figures; and their set-up on Colab."""

from dgm_helpers.notebook.checks import check, glue
from dgm_helpers.notebook.colab import install_missing
from dgm_helpers.notebook.plotting import EXACT, PALETTE, scatter_by_class, show_images, tile, use_style
from dgm_helpers.notebook.tables import benchmark_record, mean_and_error, table

__all__ = [
    "EXACT",
    "PALETTE",
    "benchmark_record",
    "check",
    "glue",
    "install_missing",
    "mean_and_error",
    "scatter_by_class",
    "show_images",
    "table",
    "tile",
    "use_style",
]
