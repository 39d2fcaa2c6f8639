"""Seven small data sets with base and new classes, made to differ as the papers' eleven do.

No colour, or no shape, of the new classes occurs in the base classes. Most have the look of the pictures that the
bundled CLIP was trained on: where there is no gap to close between those and these, prompts cannot gain on all classes
alike, which on Shapes hides what they cost new classes.
"""

from dataclasses import replace

from dassl.data.datasets import DATASET_REGISTRY

from .captions import plural
from .drawn import DrawnDataset
from .world import CLEAN, COLOURS, NUMBERS, PATTERNS, ROUGH, SHAPES, pick, several, single

# Base and new halves. MiniScenes takes backgrounds from an object's own half, so the colours of a half contrast.
COLOUR_HALVES = (["red", "yellow", "blue", "pink", "black"], ["orange", "green", "purple", "brown", "white"])
SHAPE_HALVES = (list(SHAPES)[::2], list(SHAPES)[1::2])
RADII = {"small": (9, 13), "large": (23, 28)}  # pixels


def halves(names_of, halves):
    """Class names in the order of labels, names_of(half) for each half of an attribute's values: base, then new."""
    return [name for half in halves for name in names_of(half)]


def count_name(number, shape):
    """The class name for `number` (1 to 5) of a shape: "one star", "three stars"."""
    return f"{NUMBERS[number - 1]} {shape if number == 1 else plural(shape)}"


class Miniature(DrawnDataset):
    splits = {"train": 30, "val": 10, "test": 40}
    look = CLEAN
    series = "mini"


@DATASET_REGISTRY.register()
class MiniObjects(Miniature):
    """60 classes, "red circle", in halves by colour; near saturation, as Caltech101."""

    names = halves(
        lambda half: [f"{colour} {shape}" for colour in half for shape in list(SHAPES)[:6]],
        (list(COLOURS)[:5], list(COLOURS)[5:]),
    )

    def compose(self, rng, name):
        return single(rng, self.look, *name.split())


@DATASET_REGISTRY.register()
class MiniFine(Miniature):
    """48 classes, "small striped red star", in halves by colour; they differ in details, as StanfordCars'."""

    names = halves(
        lambda half: [f"{size} {pattern} {colour} star" for colour in half for size in RADII for pattern in PATTERNS],
        (["red", "orange", "yellow"], ["green", "blue", "purple"]),
    )

    def compose(self, rng, name):
        size, pattern, colour, shape = name.split()
        return single(rng, replace(self.look, radius=RADII[size]), colour, shape, pattern)


@DATASET_REGISTRY.register()
class MiniPatterns(Miniature):
    """32 classes, "striped red shape", of any shape, in halves by colour; the object does not matter, as in DTD."""

    names = halves(
        lambda half: [f"{pattern} {colour} shape" for pattern in PATTERNS for colour in half],
        (["red", "orange", "yellow", "green"], ["blue", "purple", "pink", "brown"]),
    )

    def compose(self, rng, name):
        pattern, colour, _ = name.split()
        return single(rng, self.look, colour, pick(rng, list(SHAPES)), pattern)


@DATASET_REGISTRY.register()
class MiniCounts(Miniature):
    """50 classes, "three circles", of any colour, in halves by shape."""

    kinds = {count_name(number, shape): (number, shape) for shape in SHAPES for number in range(1, 6)}
    names = halves(
        lambda half: [count_name(number, shape) for shape in half for number in range(1, 6)],
        SHAPE_HALVES,
    )

    def compose(self, rng, name):
        number, shape = self.kinds[name]
        colour = pick(rng, list(COLOURS))
        if number == 1:
            return single(rng, self.look, colour, shape)
        return several(rng, self.look, [(colour, shape, "plain")] * number)


class _ShapesApart(Miniature):
    """50 classes, "red circle", in halves by shape."""

    names = halves(lambda half: [f"{colour} {shape}" for colour in COLOUR_HALVES[0] for shape in half], SHAPE_HALVES)
    style = "normal"

    def compose(self, rng, name):
        return single(rng, self.look, *name.split(), style=self.style)


@DATASET_REGISTRY.register()
class MiniSketch(_ShapesApart):
    """50 classes, "red circle", as hatched outlines, in halves by shape; all else as in the pretraining."""

    style = "sketch"


@DATASET_REGISTRY.register()
class MiniRough(_ShapesApart):
    """The classes of MiniSketch as rough sketches: another domain, which can be learned, as EuroSAT."""

    style = "sketch"
    look = ROUGH


@DATASET_REGISTRY.register()
class MiniScenes(Miniature):
    """120 classes, "red circle on blue", in halves by the colours of both; many classes, as SUN397."""

    names = halves(
        lambda half: [
            f"{colour} {shape} on {ground}"
            for colour in half
            for shape in ("circle", "star", "heart")
            for ground in half
            if ground != colour
        ],
        COLOUR_HALVES,
    )

    def compose(self, rng, name):
        colour, shape, _, ground = name.split()
        return replace(single(rng, self.look, colour, shape), ground=ground)
