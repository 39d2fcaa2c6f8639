"""Shapes, and its 100 classes in four other styles."""

from dassl.data.datasets import DATASET_REGISTRY

from ..split import TestOnlyDataset
from .drawn import DrawnDataset
from .world import CLASSNAMES, one_object


@DATASET_REGISTRY.register()
class Shapes(DrawnDataset):
    """100 classes "<colour> <shape>", "red star": one object each."""

    dataset_dir = "shapes"
    split_file = "split_zhou_Shapes.json"
    names = CLASSNAMES

    def compose(self, rng, name):
        return one_object(rng, name)


class ShapesVariant(TestOnlyDataset, DrawnDataset):
    """Shapes' first ten test pictures of each class in another style, a test set for models trained on Shapes."""

    names = CLASSNAMES
    splits = {"test": 10}
    style = ""  # one of world.STYLES

    def compose(self, rng, name):
        return one_object(rng, name, self.style)


@DATASET_REGISTRY.register()
class ShapesSketch(ShapesVariant):
    dataset_dir = "shapes_sketch"
    split_file = "split_zhou_ShapesSketch.json"
    style = "sketch"


@DATASET_REGISTRY.register()
class ShapesTexture(ShapesVariant):
    dataset_dir = "shapes_texture"
    split_file = "split_zhou_ShapesTexture.json"
    style = "textured"


@DATASET_REGISTRY.register()
class ShapesClutter(ShapesVariant):
    dataset_dir = "shapes_clutter"
    split_file = "split_zhou_ShapesClutter.json"
    style = "cluttered"


@DATASET_REGISTRY.register()
class ShapesDark(ShapesVariant):
    dataset_dir = "shapes_dark"
    split_file = "split_zhou_ShapesDark.json"
    style = "dark"
