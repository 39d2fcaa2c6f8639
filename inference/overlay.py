"""Figures of the patches that a method has chosen of a picture, layer by layer."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

MARK = "#ffa90e"  # see COLOURS in figures.py
DIMMED = 0.35  # brightness of what was not chosen
COLUMNS = 6


def draw(image, grid, layers):
    """The picture, and a panel for each layer with the chosen patches bright, outlined, and numbered by rank.

    Args:
        image: PIL image, square, of grid x grid patches.
        layers: layer -> positions by rank; 0 is CLS, which the title names, 1 the patch at the top left.

    Returns:
        a matplotlib Figure, not on any screen.
    """
    pixels = np.asarray(image.convert("RGB")) / 255
    size = len(pixels) / grid
    rows = -(-(1 + len(layers)) // COLUMNS)
    columns = min(COLUMNS, 1 + len(layers))
    figure = Figure(figsize=(2 * columns, 2.3 * rows), layout="constrained")
    picture, *panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in (picture, *panels):
        ax.axis("off")
    picture.imshow(pixels)
    picture.set_title("picture", fontsize=9)
    for ax, (layer, positions) in zip(panels, layers.items()):
        shown = DIMMED * pixels
        for rank, position in enumerate(positions, start=1):
            if position == 0:
                continue
            row, column = divmod(position - 1, grid)
            top, left, bottom, right = (round(size * edge) for edge in (row, column, row + 1, column + 1))
            shown[top:bottom, left:right] = pixels[top:bottom, left:right]
            corner = (left - 0.5, top - 0.5)
            ax.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=MARK, linewidth=1))
            ax.text(*corner, rank, fontsize=min(7, 60 / grid), ha="left", va="top", bbox=_LABEL)
        ax.imshow(shown)
        cls = f", CLS is {1 + positions.index(0)}" if 0 in positions else ""
        ax.set_title(f"layer {layer}{cls}", fontsize=9)
    return figure


_LABEL = {"facecolor": MARK, "edgecolor": "none", "pad": 0.5}
