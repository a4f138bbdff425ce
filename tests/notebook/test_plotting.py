"""Figures: images land where they should."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dgm_helpers.notebook.plotting import scatter_by_class, show_images, tile, use_style


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
