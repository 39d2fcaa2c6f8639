"""Shapes, and its 100 classes in four other styles."""

from dassl.data.datasets import DATASET_REGISTRY

from ..split import TestOnlyDataset
from .drawn import DrawnDataset
from .world import CLASSNAMES, one_object


@DATASET_REGISTRY.register()
class Shapes(DrawnDataset):
    """100 classes "<colour> <shape>", "red star": one object each."""

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
    style = "sketch"


@DATASET_REGISTRY.register()
class ShapesTexture(ShapesVariant):
    style = "textured"


@DATASET_REGISTRY.register()
class ShapesClutter(ShapesVariant):
    style = "cluttered"


@DATASET_REGISTRY.register()
class ShapesDark(ShapesVariant):
    style = "dark"
