from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.figures import COLOURS, Panel, embed, plot


def make_panel(title="CoOp", views=("text",), n_cls=4, per_class=12, gap=5.0, seed=0):
    """Random classes; texts lie around the same centres as images, but far away, as CLIP's do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_cls, 32))
    label = np.repeat(np.arange(n_cls), per_class)
    image = centres[label] + 0.5 * rng.normal(size=(len(label), 32))
    texts = {name: centres + 0.3 * rng.normal(size=centres.shape) - gap for name in views}
    return Panel(title, image, label, texts, [f"class {c}" for c in range(n_cls)])


# ---- the figure


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    panels = [make_panel(), make_panel("E2MIM", ("hand-crafted", "learned"))]
    return [Path(path) for path in plot(panels, tmp_path_factory.mktemp("figure") / "tsne")], panels


def test_figure_is_png_and_svg(figure):
    (png, svg), _ = figure
    assert (png.name, svg.name) == ("tsne.png", "tsne.svg")
    with Image.open(png) as picture:
        assert picture.width > picture.height > 500
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 50  # not blank
    drawn = svg.read_text()  # matplotlib notes each text beside its outlines
    expected = ["CoOp", "E2MIM", "class 0", "class 3", "text", "text, hand-crafted", "text, learned"]
    assert all(f"<!-- {text} -->" in drawn for text in expected)
    assert all(colour in drawn for colour in COLOURS[:4])


def test_texts_land_among_the_images_of_their_class():
    panel = make_panel(views=("hand-crafted", "learned"))
    image, views = embed(panel)
    assert image.shape == (48, 2)
    for points in views.values():
        assert points.shape == (4, 2)
        distance = np.linalg.norm(points[:, None] - image[None], axis=-1)
        nearest = panel.label[distance.argsort(axis=1)[:, :3]]
        assert (nearest == np.arange(4)[:, None]).all()


@pytest.mark.parametrize("n_cls,per_class", [(1, 2), (2, 1), (30, 2)])
def test_few_images_and_many_classes(tmp_path, n_cls, per_class):
    paths = plot([make_panel(n_cls=n_cls, per_class=per_class)], tmp_path / "tsne")
    assert all(Path(path).stat().st_size > 0 for path in paths)
