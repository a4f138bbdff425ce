"""What notebooks show: checks, numbers, tables, figures; and their set-up on Colab."""

from dgm_helpers.notebook.checks import check, gap, glue
from dgm_helpers.notebook.colab import install_missing
from dgm_helpers.notebook.plotting import (
    EXACT, PALETTE, banana_contours, ellipse, grid_errors, latent_scatter, scatter_by_class, show_images,
    show_lattice, tile, use_style,
)  # fmt: skip
from dgm_helpers.notebook.tables import Estimate, benchmark_record, number, table

__all__ = [
    "EXACT", "PALETTE", "Estimate", "banana_contours", "benchmark_record", "check", "ellipse", "gap", "glue",
    "grid_errors", "install_missing", "latent_scatter", "number", "scatter_by_class", "show_images", "show_lattice",
    "table", "tile", "use_style",
]  # fmt: skip
