"""Figures in one style. Each function draws on the axes it is given and returns them.

Images are drawn as ink on paper (0 is white), and the site inverts the lightness of figures in dark mode.
"""

import matplotlib.pyplot as plt
import numpy as np

PALETTE = {  # the site's style sheet uses the same values
    "ink": "#22303c",
    "blue": "#2f6f9f",
    "orange": "#d9822b",
    "green": "#3f8f5b",
    "red": "#b23a48",
    "purple": "#7a5aa6",
    "grey": "#7b8794",
}
EXACT = {"color": PALETTE["ink"], "linewidth": 1.8}  # an exact answer looks the same in every figure


def use_style():
    """Set matplotlib's defaults for the book."""
    plt.rcParams.update({
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": plt.cycler(color=[PALETTE[c] for c in ("blue", "orange", "green", "purple", "red", "grey")]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": PALETTE["ink"],
        "axes.labelcolor": PALETTE["ink"],
        "axes.titlesize": 11,
        "axes.labelsize": 10.5,
        "xtick.color": PALETTE["ink"],
        "ytick.color": PALETTE["ink"],
        "text.color": PALETTE["ink"],
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "lines.linewidth": 1.6,
        "font.size": 10.5,
        "image.interpolation": "nearest",
        "savefig.facecolor": "white",
    })  # fmt: skip


def tile(images, rows, cols, gap=1):
    """Lay rows * cols square images (n, side * side) into one array, row by row, ``gap`` empty pixels apart."""
    images = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    side = round(images.shape[-1] ** 0.5)
    if images.shape != (rows * cols, side * side):
        raise ValueError(f"expected {rows * cols} square images in rows, shape (n, side * side), got {images.shape}")
    step = side + gap
    sheet = np.zeros((rows * step - gap, cols * step - gap), dtype=images.dtype)
    for i, image in enumerate(images):
        top, left = i // cols * step, i % cols * step
        sheet[top : top + side, left : left + side] = image.reshape(side, side)
    return sheet


def show_images(images, rows, cols, ax, *, title=None, gap=1):
    """Draw images (n, side * side), values in [0, 1], as a rows x cols sheet of ink on paper."""
    ax.imshow(tile(images, rows, cols, gap), cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
    return ax


def scatter_by_class(points, labels, ax, *, size=2.0):
    """Scatter points (n, 2) coloured by integer label, each class named at its median."""
    points, labels = np.asarray(points), np.asarray(labels)
    colours = plt.get_cmap("tab10").colors
    ax.scatter(*points.T, c=[colours[k % 10] for k in labels], s=size, linewidths=0, alpha=0.55, rasterized=True)
    for k in np.unique(labels):
        box = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": colours[k % 10], "linewidth": 1.4}
        ax.text(*np.median(points[labels == k], 0), str(k), ha="center", va="center", fontsize=10, bbox=box)
    return ax
