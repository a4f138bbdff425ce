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
    side = round(images.shape[-1] ** 0.5) if images.ndim else 0
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


def ellipse(mean, cov, radius=1.0):
    """Points (2, 200) of the ellipse ``radius`` standard deviations around mean (2,), with covariance cov (2, 2)."""
    mean, cov = np.asarray(mean), np.asarray(cov)
    if mean.shape != (2,) or cov.shape != (2, 2):
        raise ValueError(f"expected mean (2,) and cov (2, 2), got {mean.shape} and {cov.shape}")
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = radius * np.stack([np.cos(angle), np.sin(angle)])
    return mean[:, None] + np.linalg.cholesky(cov) @ circle


def banana_contours(ax, points, log_f, levels):
    """Contours of the exact posterior of the banana, log_f (n1, n2) on a grid of points (n1, n2, 2), three levels."""
    widths = (0.9, 1.2, 1.8)
    ax.contour(points[..., 0], points[..., 1], log_f, levels, colors=EXACT["color"], linewidths=widths, linestyles="-")
    ax.set(xlim=(-3.2, 2.2), ylim=(-2.4, 2.4), xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
    return ax


def latent_scatter(means, labels, ax, *, size=2.0):
    """``scatter_by_class`` in a latent plane, with the circle that holds 95 % of a standard normal's mass."""
    scatter_by_class(means, labels, ax, size=size)
    ax.add_patch(plt.Circle((0, 0), np.sqrt(-2 * np.log(0.05)), fill=False, linestyle="--", color=PALETTE["ink"]))
    ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return ax


def show_lattice(images, z1, z2, ax, *, decimals=1):
    """Images decoded on the points z1 x z2 (20 each), both rising, row by row from the largest z2, with five ticks."""
    show_images(images, 20, 20, ax, gap=0)
    shown = (0, 5, 10, 15, 19)
    ticks = [14 + 28 * i for i in shown]
    ax.set_xticks(ticks, [f"{float(z1[i]):.{decimals}f}" for i in shown])
    ax.set_yticks(ticks, [f"{float(z2[19 - i]):.{decimals}f}" for i in shown])
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def grid_errors(axes, by_spacing, by_range):
    """Errors of a latent grid, {spacing: (N,)} and {half-width: (N,)} in nats: their mean and the worst image."""
    for ax, errors in zip(axes, (by_spacing, by_range), strict=True):
        ax.semilogy(list(errors), [float(e.mean().abs()) for e in errors.values()], "o-", label="mean over images")
        ax.semilogy(list(errors), [float(e.abs().max()) for e in errors.values()], "^-", label="worst image")
        ax.axhline(0.01, color=PALETTE["grey"], linestyle=":")
        ax.grid(alpha=0.25)
    axes[0].set(xlabel="grid spacing", ylabel=r"error of $\log p(x)$ (nats)", xscale="log", ylim=(1e-6, 300))
    axes[0].set_xticks(list(by_spacing), [f"{h:g}" for h in by_spacing])
    axes[0].minorticks_off()
    axes[1].set(xlabel="half-width of the square")
    return axes


def show_columns(columns, names, ax):
    """Images in named columns side by side: each column a tensor (rows, side * side), values in [0, 1]."""
    step = round(columns[0].shape[-1] ** 0.5) + 1
    sheet = np.stack([column.detach().cpu() for column in columns], 1)
    show_images(sheet.reshape(-1, sheet.shape[-1]), len(sheet), len(columns), ax)
    ax.set_xticks([step // 2 + step * k for k in range(len(columns))], names)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return ax
