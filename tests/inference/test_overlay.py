"""Panels of chosen patches: what is bright, outlined and numbered."""

import numpy as np
from PIL import Image

from inference.overlay import DIMMED, draw

PIXELS = np.random.RandomState(0).randint(1, 256, (32, 32, 3)).astype(np.uint8)


def test_chosen_patches_are_bright_outlined_and_numbered_by_rank():
    figure = draw(Image.fromarray(PIXELS), 4, {1: [3, 14], 2: [0, 5, 1], 3: [8, 0]})
    picture, *panels = figure.axes
    assert [panel.get_title() for panel in figure.axes] == [
        "picture",
        "layer 1",
        "layer 2, CLS is 1",
        "layer 3, CLS is 2",
    ]
    np.testing.assert_allclose(picture.images[0].get_array(), PIXELS / 255)
    patches = [  # rank -> row and column
        {"1": (0, 2), "2": (3, 1)},
        {"2": (1, 0), "3": (0, 0)},
        {"1": (1, 3)},
    ]
    for panel, chosen in zip(panels, patches):
        bright = np.zeros((4, 4), dtype=bool)
        for row, column in chosen.values():
            bright[row, column] = True
        factor = np.where(bright, 1, DIMMED).repeat(8, axis=0).repeat(8, axis=1)[..., None]
        np.testing.assert_allclose(panel.images[0].get_array(), factor * PIXELS / 255)
        corners = {(8 * column - 0.5, 8 * row - 0.5) for row, column in chosen.values()}
        assert {outline.get_xy() for outline in panel.patches} == corners
        assert {outline.get_width() for outline in panel.patches} == {outline.get_height() for outline in panel.patches}
        numbers = {text.get_text(): text.get_position() for text in panel.texts}
        assert numbers == {rank: (8 * column - 0.5, 8 * row - 0.5) for rank, (row, column) in chosen.items()}
