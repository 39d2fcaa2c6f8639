"""Scenes of `world.py` with sentences about them: what the bundled CLIP was trained on."""

import random
import re

from .world import (
    CLEAN,
    COLOURS,
    GROUNDS,
    LARGE,
    NUMBERS,
    PATTERNS,
    SHAPES,
    SIZE,
    STYLES,
    draw,
    several,
    single,
)

_PLURAL = {"cross": "crosses", "leaf": "leaves"}

# {} stands for the noun phrase with its article; the weights are shares
FRAMES = {
    "a picture of {}": 5,
    "a photo of {}": 5,
    "{}": 3,
    "a drawing of {}": 2,
    "an image of {}": 2,
    "a bad photo of {}": 1,
    "a blurry picture of {}": 1,
    "a close-up photo of {}": 1,
    "a rendering of {}": 1,
    "art of {}": 1,
    "itap of {}": 1,
    "there is {}": 1,
    "this is {}": 1,
    "{} in the picture": 1,
}
STYLE_FRAMES = {
    "sketch": ("a sketch of {}", "a pencil sketch of {}", "an outline of {}"),
    "textured": ("a textured picture of {}", "a photo of {} with a rough texture", "{} with texture"),
    "dark": ("a dark picture of {}", "a dark photo of {}", "{} in the dark", "{} at night"),
    "cluttered": ("a cluttered picture of {}", "a photo of {} in clutter", "{} in a messy picture"),
}


def plural(shape):
    """The plural of a shape's name."""
    return _PLURAL.get(shape, shape + "s")


def _article(rng, phrase):
    kind = rng.choices(("a", "the", "one"), (8, 1, 1))[0]
    if kind == "a" and phrase[0] in "aeiou" and rng.random() < 0.5:  # prompt templates say "a orange circle"
        kind = "an"
    return f"{kind} {phrase}"


def _size(radius):
    return "small" if radius < 15 else "large" if radius > 21 else "medium"


def _kind(rng, item, count, other):
    """Adjectives and noun for `count` objects like item; other is a (colour, shape) to say wrongly, or None."""
    colour, shape = other or (item.colour, item.shape)
    words = []
    if count == 1 and rng.random() < 0.25:
        words.append(_size(item.radius))
    if item.pattern != "plain" and rng.random() < 0.85:
        words.append(item.pattern)
    elif item.pattern == "plain" and rng.random() < 0.08:
        words.append("plain")
    keep = rng.choices(("both", "shape", "colour"), (84, 12, 4))[0]
    if keep != "shape":
        words.append(colour)
    noun = shape if keep != "colour" else "shape"
    words.append(noun if count == 1 else plural(noun))
    return " ".join(words)


def _place(item):
    words = []
    if item.y < SIZE * 0.4 or item.y > SIZE * 0.6:
        words.append("at the top" if item.y < SIZE / 2 else "at the bottom")
    if item.x < SIZE * 0.4 or item.x > SIZE * 0.6:
        words.append("on the left" if item.x < SIZE / 2 else "on the right")
    return words or ["in the middle"]


def caption(scene, rng, wrong=0.06):
    """One sentence about a scene.

    Args:
        scene: a `world.Scene`.
        rng: `random.Random`; chooses the words and what is left unsaid.
        wrong: share of sentences that name another colour or shape on purpose.

    Returns:
        a str; lower case, with or without a full stop.
    """
    first, count = scene.items[0], len(scene.items)
    mixed = any((i.colour, i.shape) != (first.colour, first.shape) for i in scene.items)
    other = None
    if rng.random() < wrong:
        other = (
            (rng.choice([c for c in COLOURS if c != first.colour]), first.shape)
            if rng.random() < 0.5
            else (first.colour, rng.choice([s for s in SHAPES if s != first.shape]))
        )
    if mixed:
        order = list(scene.items)
        rng.shuffle(order)
        phrases = [_article(rng, _kind(rng, i, 1, other if i is first else None)) for i in order]
        phrase = " and ".join(phrases)
    elif count == 1:
        phrase = _article(rng, _kind(rng, first, 1, other))
    else:
        number = NUMBERS[count - 1] if rng.random() < 0.9 else "some"
        phrase = f"{number} {_kind(rng, first, count, other)}"
    if count == 1 and rng.random() < 0.15:
        phrase += " " + rng.choice(_place(first))
    if rng.random() < 0.15:
        phrase += rng.choice((" on a {} background", " on {}")).format(scene.ground)
    if scene.style != "normal" and rng.random() < 0.7:
        frame = rng.choice(STYLE_FRAMES[scene.style])
    else:
        frame = rng.choices(list(FRAMES), list(FRAMES.values()))[0]
    return frame.format(phrase) + ("." if rng.random() < 0.7 else "")


def words():
    """Every word and mark that a caption can hold, sorted."""
    text = " ".join([*FRAMES, *(f for frames in STYLE_FRAMES.values() for f in frames)])
    text += " a an the one some and small medium large plain striped dotted checkered shape shapes on background"
    text += " at in top bottom left right middle ."
    names = [*GROUNDS, *NUMBERS, *SHAPES, *map(plural, SHAPES), *STYLES[1:]]
    return sorted(set(re.findall(r"[a-z]+|[^\sa-z{}]", text)) | set(names))


def sample_scene(index, seed):
    """Scene number `index` and its look: half of them are plain single objects, the others something richer."""
    rng = random.Random(f"scene {seed} {index}")
    colour, shape = rng.choice(list(COLOURS)), rng.choice(list(SHAPES))
    sort = rng.random()
    if sort < 0.15:
        return single(rng, LARGE, colour, shape), LARGE
    if sort < 0.50:
        return single(rng, CLEAN, colour, shape), CLEAN
    style = rng.choice(STYLES) if rng.random() < 0.4 else "normal"
    pattern = rng.choice(PATTERNS)
    if sort < 0.72:
        return single(rng, CLEAN, colour, shape, pattern, style), CLEAN
    if sort < 0.92:
        pattern = pattern if rng.random() < 0.3 else "plain"
        return several(rng, CLEAN, [(colour, shape, pattern)] * rng.choice((2, 3, 4, 5)), style), CLEAN
    while True:
        second = (rng.choice(list(COLOURS)), rng.choice(list(SHAPES)), "plain")
        if second[:2] != (colour, shape) and {colour, second[0]} != {"white", "black"}:
            return several(rng, CLEAN, [(colour, shape, "plain"), second], style), CLEAN


def captioned_picture(job):
    """Draw scene job = (index, seed). Returns the scene, whether its look is LARGE, and its pixels."""
    index, seed = job
    scene, look = sample_scene(index, seed)
    return scene, look is LARGE, draw(scene, f"pretrain {seed} {index}", look)
