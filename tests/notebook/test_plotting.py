"""Figures: images land where they should."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.stats import chi2

from dgm_helpers.notebook import plotting
from dgm_helpers.notebook.plotting import banana_contours, ellipse, scatter_by_class, show_images, tile, use_style


def test_tile_places_images_row_by_row():
    images = torch.arange(6.0)[:, None].expand(6, 4)
    sheet = tile(images, 2, 3, gap=1)
    assert sheet.shape == (5, 8)
    assert (sheet[0:2, 3:5] == 1).all()
    assert (sheet[3:5, 0:2] == 3).all()
    assert (sheet[2] == 0).all()


def test_tile_keeps_the_pixels_of_an_image_in_order():
    assert tile(np.arange(4.0)[None], 1, 1).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("shape", [(5, 4), (6, 3), (6,)])
def test_tile_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"expected 6 square images .* got"):
        tile(np.zeros(shape), 2, 3)


def test_functions_draw_on_the_axes_given_and_return_them(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("plt.show() was called"))
    use_style()
    fig, axes = plt.subplots(1, 2)
    assert show_images(torch.zeros(4, 9), 2, 2, axes[0], title="t") is axes[0]
    assert scatter_by_class(torch.zeros(3, 2), torch.tensor([0, 1, 1]), axes[1]) is axes[1]
    assert [text.get_text() for text in axes[1].texts] == ["0", "1"]
    fig.canvas.draw()
    plt.close(fig)


def test_contours_lie_where_the_density_has_their_levels():
    points = torch.stack(torch.meshgrid(torch.linspace(-3, 3, 121), torch.linspace(-2, 2, 81), indexing="ij"), -1)
    fig, ax = plt.subplots()
    levels = [-1.5, -1.0, -0.5]  # of x^2 + 4 y^2 = r^2 with log f = -r^2 / 2
    assert banana_contours(ax, points, -0.5 * (points[..., 0] ** 2 + 4 * points[..., 1] ** 2), levels) is ax
    for path, level in zip(ax.collections[0].get_paths(), levels, strict=True):
        x, y = path.vertices.T
        np.testing.assert_allclose(x**2 + 4 * y**2, -2 * level, atol=0.02)
    plt.close(fig)


def test_an_ellipse_lies_at_its_distance_in_standard_deviations():
    mean, cov = torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.9], [0.9, 0.5]])
    off = ellipse(mean, cov, 3.0) - mean.numpy()[:, None]
    assert off.shape == (2, 200)
    assert np.allclose(np.einsum("in,ij,jn->n", off, np.linalg.inv(cov), off), 9)
    assert off.min() < 0 < off.max()


def test_the_latent_scatter_has_the_circle_of_95_percent():
    _, ax = plt.subplots()
    plotting.latent_scatter(torch.randn(30, 2), torch.arange(30) % 3, ax)
    (circle,) = (patch for patch in ax.patches if isinstance(patch, plt.Circle))
    assert chi2(2).cdf(circle.radius**2) == pytest.approx(0.95)


def test_the_lattice_has_the_largest_z2_on_top():
    images, z = torch.zeros(400, 28 * 28), torch.linspace(-3, 3, 20)
    images[0] = 1  # the first image of the first row
    _, ax = plt.subplots()
    plotting.show_lattice(images, z, z, ax)
    assert ax.images[0].get_array()[:28, :28].min() == 1
    assert next(tick.get_text() for tick in ax.get_yticklabels()) == "3.0"
    assert next(tick.get_text() for tick in ax.get_xticklabels()) == "-3.0"


def test_grid_errors_shows_the_mean_and_the_worst_image():
    _, axes = plt.subplots(1, 2)
    errors = {0.1: torch.tensor([0.01, -0.03]), 0.2: torch.tensor([0.2, 0.4])}
    plotting.grid_errors(axes, errors, errors)
    mean, worst, _ = axes[0].lines
    assert mean.get_ydata() == pytest.approx([0.01, 0.3])
    assert worst.get_ydata() == pytest.approx([0.03, 0.4])
