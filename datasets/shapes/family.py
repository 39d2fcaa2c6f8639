"""Shapes, its 100 classes in four other styles, and two data sets with other classes."""

from dassl.data.datasets import DATASET_REGISTRY

from ..split import TestOnlyDataset
from .captions import plural
from .drawn import DrawnDataset
from .world import (
    CLASSNAMES,
    COLOURS,
    NUMBERS,
    PATTERNS,
    ROUGH,
    SHAPES,
    one_object,
    pick,
    several,
    shuffled,
    single,
)

# Class names read as in the captions of the bundled CLIP. Each order's seed is the first whose halves hold every shape,
# and every number or pattern, as often as the next one, give or take two.
COUNTS = {
    f"{number} {plural(shape) if count > 1 else shape}": (count, shape)
    for count, number in enumerate(NUMBERS, start=1)
    for shape in SHAPES
}
COUNT_NAMES = shuffled(COUNTS, 29)
PATTERN_NAMES = shuffled([f"{pattern} {shape}" for pattern in PATTERNS for shape in SHAPES], 6)
# A pattern's second colour is dark on light grounds, where it would not show on black.
PATTERN_COLOURS = [colour for colour in COLOURS if colour != "black"]


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


@DATASET_REGISTRY.register()
class ShapesCounts(DrawnDataset):
    """50 classes "<number> <shape>", "three circles": one to five objects of a shape and of one random colour."""

    dataset_dir = "shapes_counts"
    split_file = "split_zhou_ShapesCounts.json"
    names = COUNT_NAMES

    def compose(self, rng, name):
        count, shape = COUNTS[name]
        colour = pick(rng, list(COLOURS))
        if count == 1:
            return single(rng, ROUGH, colour, shape)
        return several(rng, ROUGH, [(colour, shape, "plain")] * count)


@DATASET_REGISTRY.register()
class ShapesPatterns(DrawnDataset):
    """40 classes "<pattern> <shape>", "striped square" or "plain star": one object of a random colour."""

    dataset_dir = "shapes_patterns"
    split_file = "split_zhou_ShapesPatterns.json"
    names = PATTERN_NAMES

    def compose(self, rng, name):
        pattern, shape = name.split()
        return single(rng, ROUGH, pick(rng, PATTERN_COLOURS), shape, pattern)
