"""A small world of coloured shapes: seeded pictures, drawn with PIL.

Two users: Shapes and its family (`family.py`) draw with the `ROUGH` look, and `pretraining/` trains the bundled
CLIP on captioned scenes with the `LARGE` and `CLEAN` looks. A picture is made in two steps: `single` or
`several` choose what is in it, plain data that a caption can be read from (`captions.py`), and `draw` makes its pixels.

Every random number comes from `random.Random.random` or a `numpy.random.RandomState`, seeded with the picture's name.
Python and numpy promise to keep these two streams, so a picture depends neither on the order of drawing nor on their
versions.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 64  # pixels, both sides
_FINE = 3  # masks are drawn this much larger and averaged down, for smooth edges

COLOURS = {
    "red": (215, 35, 35),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 160, 60),
    "blue": (35, 70, 215),
    "purple": (130, 45, 170),
    "pink": (250, 150, 195),
    "brown": (120, 75, 35),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
GROUNDS = {**COLOURS, "gray": (128, 128, 128)}  # colours of backgrounds
PATTERNS = ("plain", "striped", "dotted", "checkered")
STYLES = ("normal", "sketch", "textured", "dark", "cluttered")
NUMBERS = ("one", "two", "three", "four", "five")
_MIN_CONTRAST = 105.0  # Euclidean RGB distance between an object and its background


def _arc(radius, start, stop, n=32, cx=0.0):
    """n points on the arc of a circle around (cx, 0) from angle start to stop (degrees)."""
    angles = [math.radians(start + (stop - start) * i / (n - 1)) for i in range(n)]
    return [(cx + radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _polar(radii, turn=-90.0):
    n = len(radii)
    angles = [math.radians(turn + 360.0 * i / n) for i in range(n)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles)]


def _heart():
    ts = [2 * math.pi * i / 48 for i in range(48)]
    xs = [16 * math.sin(t) ** 3 for t in ts]
    ys = [-(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) for t in ts]
    return [(x / 16.5, (y - 2.0) / 16.5) for x, y in zip(xs, ys)]


def _cross(a=0.34, b=0.98):
    quarter = [(a, -b), (a, -a), (b, -a)]
    points = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


# name: (outline, hole or None); points within the unit circle, y grows downwards
SHAPES = {
    "circle": (_arc(0.9, 0, 360), None),
    "square": (_polar([1.08] * 4, turn=-45.0), None),
    "triangle": (_polar([1.08] * 3), None),
    "star": (_polar([1.1, 0.44] * 5), None),
    "cross": (_cross(), None),
    "heart": (_heart(), None),
    "ring": (_arc(0.98, 0, 360), _arc(0.56, 0, 360)),
    "moon": (
        [(x - 0.15, y) for x, y in _arc(1.0, 48, 312) + _arc(0.82, 295, 65, cx=0.34)],
        None,
    ),
    "arrow": (
        [(-1, -0.26), (0.1, -0.26), (0.1, -0.75), (1.05, 0), (0.1, 0.75), (0.1, 0.26), (-1, 0.26)],
        None,
    ),
    "leaf": (_arc(1.3, -53, 53, cx=-0.78) + _arc(1.3, 127, 233, cx=0.78), None),
}


@dataclass(frozen=True)
class Item:
    """One object: names, centre and radius in pixels, turn in degrees."""

    colour: str
    shape: str
    pattern: str
    x: float
    y: float
    radius: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows: its objects, the name of the background's colour and one of `STYLES`."""

    items: tuple
    ground: str
    style: str = "normal"


@dataclass(frozen=True)
class Look:
    """How rough pictures are. Ranges are uniform; intensities are in 0..255."""

    radius: tuple  # pixels, single objects
    upright: float  # share of objects that are turned by at most 20 degrees; the others by any angle
    shade: float  # largest deviation of a colour channel from the named colour
    gradient: float  # largest brightness difference from the background's middle to its edge
    noise: tuple  # standard deviation of pixel noise
    blur: tuple  # radius in pixels
    strokes: tuple  # number of stray strokes of clutter, least and most


LARGE = Look((20, 28), 1.0, 14, 25, (0, 6), (0, 0.4), (0, 0))
CLEAN = Look((11, 27), 0.4, 18, 40, (0, 10), (0, 0.6), (0, 0))
ROUGH = Look((10, 24), 0.25, 34, 60, (4, 26), (0.2, 1.1), (0, 5))


def contrasts(colour, ground):
    """Whether an object of this colour shows on this background (both names)."""
    return math.dist(COLOURS[colour], GROUNDS[ground]) > _MIN_CONTRAST


def _between(rng, bounds):
    return bounds[0] + (bounds[1] - bounds[0]) * rng.random()


def pick(rng, seq):
    """One of `seq`. Unlike `rng.choice`, it needs no more than `rng.random`."""
    return seq[int(rng.random() * len(seq))]


def _turn(rng, look):
    return _between(rng, (-20, 20)) if rng.random() < look.upright else _between(rng, (0, 360))


def sample_ground(rng, *colours):
    """A background's name on which objects of all the colours show."""
    return pick(rng, [name for name in GROUNDS if all(contrasts(c, name) for c in colours)])


def single(rng, look, colour, shape, pattern="plain", style="normal"):
    """A scene of one object of random size, place and turn, all inside the picture."""
    radius = _between(rng, look.radius)
    low, high = radius + 1, SIZE - radius - 1
    item = Item(
        colour,
        shape,
        pattern,
        _between(rng, (low, high)),
        _between(rng, (low, high)),
        radius,
        _turn(rng, look),
    )
    return Scene((item,), sample_ground(rng, colour), style)


def several(rng, look, kinds, style="normal"):
    """A scene of 2 to 5 objects side by side; kinds is a list of (colour, shape, pattern)."""
    radius = _between(rng, {2: (9, 14), 3: (8, 13)}.get(len(kinds), (7, 10)))
    places = []
    while len(places) < len(kinds):
        places = []
        for _ in range(60):
            spot = [_between(rng, (radius + 1, SIZE - radius - 1)) for _ in range(2)]
            if all(math.dist(spot, p) > 2.05 * radius for p in places):
                places.append(spot)
            if len(places) == len(kinds):
                break
    items = tuple(Item(*kind, *place, radius, _turn(rng, look)) for kind, place in zip(kinds, places))
    return Scene(items, sample_ground(rng, *{k[0] for k in kinds}), style)


def _mask(item, width=0):
    """Coverage [SIZE, SIZE] in 0..1 of an item's area, or of its outline when a width in pixels is given."""
    canvas = Image.new("L", (SIZE * _FINE, SIZE * _FINE))
    pen = ImageDraw.Draw(canvas)
    cos, sin = math.cos(math.radians(item.turn)), math.sin(math.radians(item.turn))
    for points, fill in zip(SHAPES[item.shape], (255, 0)):
        if points is None:
            continue
        placed = [
            (
                (item.x + item.radius * (x * cos - y * sin)) * _FINE,
                (item.y + item.radius * (x * sin + y * cos)) * _FINE,
            )
            for x, y in points
        ]
        if width:
            pen.line(placed + placed[:2], fill=255, width=round(width * _FINE), joint="curve")
        else:
            pen.polygon(placed, fill=fill)
    return np.asarray(canvas.reduce(_FINE), dtype=np.float32) / 255.0


_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)


def _pattern(item, rng):
    """Where [SIZE, SIZE] (0 or 1) an item's second colour shows, in the item's own turned frame."""
    a = math.radians(item.turn)
    u = (_COLUMNS - item.x) * math.cos(a) + (_ROWS - item.y) * math.sin(a)
    v = (_ROWS - item.y) * math.cos(a) - (_COLUMNS - item.x) * math.sin(a)
    period = max(4.0, item.radius * _between(rng, (0.42, 0.6)))
    if item.pattern == "striped":
        return (np.mod(v, period) < period / 2).astype(np.float32)
    if item.pattern == "checkered":
        return ((np.mod(u, period) < period / 2) ^ (np.mod(v, period) < period / 2)).astype(np.float32)
    u, v = np.mod(u, period) - period / 2, np.mod(v, period) - period / 2  # dotted
    return (u**2 + v**2 < (0.3 * period) ** 2).astype(np.float32)


def _shaded(rng, rgb, look):
    return np.array([c + _between(rng, (-look.shade, look.shade)) for c in rgb], dtype=np.float32)


def _background(scene, rng, look):
    paper = _shaded(rng, GROUNDS[scene.ground], look)
    angle, slope = _between(rng, (0, 2 * math.pi)), _between(rng, (0, look.gradient))
    ramp = ((_COLUMNS - SIZE / 2) * math.cos(angle) + (_ROWS - SIZE / 2) * math.sin(angle)) / (SIZE / 2)
    return paper + (slope * ramp)[..., None]


def _strokes(pixels, rng, count, avoid):
    """Stray strokes and specks of clutter, none of them of a colour to avoid."""
    canvas = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    palette = [rgb for name, rgb in GROUNDS.items() if name not in avoid]
    for _ in range(count):
        x, y, angle = rng.random() * SIZE, rng.random() * SIZE, rng.random() * 2 * math.pi
        length, rgb = _between(rng, (4, 22)), pick(rng, palette)
        end = (x + length * math.cos(angle), y + length * math.sin(angle))
        pen.line([(x, y), end], fill=rgb, width=1 + int(rng.random() * 2))
    return np.asarray(canvas, dtype=np.float32)


def draw(scene, key, look):
    """Draw a scene.

    Args:
        scene: what to draw.
        key: a name of the picture, the seed of everything that the scene leaves open (shades, noise, ...).
        look: how rough the picture is.

    Returns:
        uint8 array [SIZE, SIZE, 3], RGB.
    """
    rng = random.Random(f"draw {key}")
    noise = np.random.RandomState(int(rng.random() * 2**32))
    pixels = _background(scene, rng, look)
    count = round(_between(rng, look.strokes)) + (8 + int(rng.random() * 7) if scene.style == "cluttered" else 0)
    if count:
        pixels = _strokes(pixels, rng, count, {item.colour for item in scene.items})
    for item in scene.items:
        fill = np.broadcast_to(_shaded(rng, COLOURS[item.colour], look), pixels.shape)
        if item.pattern != "plain":
            light = {"white", "yellow"} & {item.colour, scene.ground}
            second = (60, 60, 60) if light else (245, 245, 245)
            where = _pattern(item, rng)[..., None]
            fill = fill * (1 - where) + np.float32(second) * where
        cover = _mask(item)[..., None]
        if scene.style == "sketch":  # a coloured outline, its inside hatched thinly
            hatch = 0.35 * (np.mod(_ROWS + _COLUMNS, 5) < 1.5)[..., None]
            cover = np.maximum(_mask(item, width=1.8)[..., None], cover * hatch)
        pixels = pixels * (1 - cover) + fill * cover
    if scene.style == "textured":
        coarse = noise.uniform(-45, 45, (SIZE // 4, SIZE // 4)).astype(np.float32)
        pixels = pixels + np.kron(coarse, np.ones((4, 4), np.float32))[..., None]
    if scene.style == "dark":
        pixels = pixels * _between(rng, (0.35, 0.55))
    blur = _between(rng, look.blur)
    canvas = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if blur > 0.2:
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur))
    sigma = _between(rng, look.noise)
    pixels = np.asarray(canvas, dtype=np.float32) + noise.standard_normal((SIZE, SIZE, 3)).astype(np.float32) * sigma
    return pixels.clip(0, 255).astype(np.uint8)


def shuffled(names, seed):
    """The names in an order of their own, so that the first and the last half of the classes hold a bit of each."""
    names = list(names)
    random.Random(seed).shuffle(names)
    return names


# Label of a class = its place in this list. The seed is the first whose halves hold every word 4 to 6 times.
CLASSNAMES = shuffled([f"{colour} {shape}" for colour in COLOURS for shape in SHAPES], 1220)
SPLITS = {"train": 30, "val": 10, "test": 20}  # pictures per class


def one_object(rng, classname, style="normal"):
    """A scene of a class of Shapes."""
    return single(rng, ROUGH, *classname.split(), style=style)


def picture(split, classname, index, compose=one_object, look=ROUGH, series="shapes"):
    """Picture number `index` of a class in a split of Shapes, or of a data set with another compose(rng, classname).

    In data sets of one series, pictures of the same name have an object of one size and turn at one place.
    Returns uint8 [SIZE, SIZE, 3], RGB.
    """
    key = f"{series} {split} {classname} {index}"
    return draw(compose(random.Random(key), classname), key, look)
