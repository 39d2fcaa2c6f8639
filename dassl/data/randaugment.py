"""RandAugment (arXiv 1909.13719) as Dassl has it: its own lists of operations, not torchvision's.

An operation takes a picture (PIL, RGB) and a strength, whose unit is the operation's. Three transforms draw N
operations with replacement from a list, and give each a strength out of its range there:

- `RandAugment`: at M/30 of the range, M one number for all (UDA's and EfficientNet's list of 16).
- `RandAugment2`: anywhere in the range, and each operation is left out with probability 0.4.
- `RandAugmentFixMatch`: anywhere in the range (FixMatch, arXiv 2001.07685: milder, without Invert).

Random numbers are drawn from the global generators (Python's; of "Cutout" NumPy's) in the order of the original, so
that equal seeds give equal pictures.
"""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

GREY = (125, 123, 114)  # what Cutout leaves: about ImageNet's mean colour


def _either_way(value):
    """`value` or its opposite, as likely as each other: the geometric operations have two directions."""
    return -value if random.random() > 0.5 else value


def _affine(image, *matrix):
    """Each pixel (x, y) becomes the one at (a x + b y + c, d x + e y + f); black where there is none."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _solarize_add(image, value):
    """Brighten by `value` levels, and invert what then lies at 128 or above."""
    brighter = np.clip(np.asarray(image) + value, 0, 255)
    return ImageOps.solarize(Image.fromarray(brighter.astype(np.uint8)), 128)


def _cutout(image, side):
    """A grey square of `side` pixels, cut at the borders."""
    width, height = image.size
    # from 1 to the length, which is what the original's uniform(length) draws: `length` is its lower bound
    x, y = np.random.uniform(width, 1), np.random.uniform(height, 1)
    left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + side), min(height, top + side)), GREY)
    return image


OPERATIONS = {  # name: (picture, strength) -> picture
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Identity": lambda image, _: image,
    "Invert": lambda image, _: ImageOps.invert(image),
    "Posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),  # bits that are kept of each channel
    "Solarize": ImageOps.solarize,  # level from which on a channel is inverted
    "SolarizeAdd": _solarize_add,  # levels
    # how much is kept of what each of these is about; more than 1: added
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "Cutout": _cutout,  # pixels
    "Rotate": lambda image, degrees: image.rotate(_either_way(degrees)),
    "ShearX": lambda image, share: _affine(image, 1, _either_way(share), 0, 0, 1, 0),  # pixels per pixel
    "ShearY": lambda image, share: _affine(image, 1, 0, 0, _either_way(share), 1, 0),
    "TranslateX": lambda image, share: _affine(image, 1, 0, _either_way(share) * image.width, 0, 1, 0),  # of the width
    "TranslateY": lambda image, share: _affine(image, 1, 0, 0, 0, 1, _either_way(share) * image.height),
    "TranslateXabs": lambda image, pixels: _affine(image, 1, 0, _either_way(pixels), 0, 1, 0),
    "TranslateYabs": lambda image, pixels: _affine(image, 1, 0, 0, 0, 1, _either_way(pixels)),
}


class _OfAList:
    """`n` operations, drawn anew for each picture."""

    # (name of an operation, its strength at the lower and at the upper end), in the original's order: draws are places
    operations = ()

    def __init__(self, n=2):
        self.n = n

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in vars(self).items())})"

    def share(self):
        """How far up its range the next operation's strength is, from 0 to 1; None: it is left out."""
        return random.random()

    def __call__(self, image):
        for name, low, high in random.choices(self.operations, k=self.n):
            share = self.share()
            if share is not None:
                image = OPERATIONS[name](image, share * (high - low) + low)
        return image


class RandAugment(_OfAList):
    """`n` operations of strength `m`, 0 to 30."""

    operations = (
        ("AutoContrast", 0, 1),
        ("Equalize", 0, 1),
        ("Invert", 0, 1),
        ("Rotate", 0, 30),
        ("Posterize", 4, 8),
        ("Solarize", 0, 256),
        ("SolarizeAdd", 0, 110),
        ("Color", 0.1, 1.9),
        ("Contrast", 0.1, 1.9),
        ("Brightness", 0.1, 1.9),
        ("Sharpness", 0.1, 1.9),
        ("ShearX", 0.0, 0.3),
        ("ShearY", 0.0, 0.3),
        ("Cutout", 0, 40),
        ("TranslateXabs", 0.0, 100),
        ("TranslateYabs", 0.0, 100),
    )

    def __init__(self, n=2, m=10):
        super().__init__(n)
        self.m = m

    def share(self):
        return self.m / 30


class RandAugment2(_OfAList):
    """`n` operations, each with probability `p`."""

    operations = (
        ("AutoContrast", 0, 1),
        ("Brightness", 0.1, 1.9),
        ("Color", 0.1, 1.9),
        ("Contrast", 0.1, 1.9),
        ("Equalize", 0, 1),
        ("Identity", 0, 1),
        ("Invert", 0, 1),
        ("Posterize", 4, 8),
        ("Rotate", -30, 30),
        ("Sharpness", 0.1, 1.9),
        ("ShearX", -0.3, 0.3),
        ("ShearY", -0.3, 0.3),
        ("Solarize", 0, 256),
        ("TranslateX", -0.3, 0.3),
        ("TranslateY", -0.3, 0.3),
    )

    def __init__(self, n=2, p=0.6):
        super().__init__(n)
        self.p = p

    def share(self):
        return None if random.random() > self.p else random.random()


class RandAugmentFixMatch(_OfAList):
    """`n` operations."""

    operations = (
        ("AutoContrast", 0, 1),
        ("Brightness", 0.05, 0.95),
        ("Color", 0.05, 0.95),
        ("Contrast", 0.05, 0.95),
        ("Equalize", 0, 1),
        ("Identity", 0, 1),
        ("Posterize", 4, 8),
        ("Rotate", -30, 30),
        ("Sharpness", 0.05, 0.95),
        ("ShearX", -0.3, 0.3),
        ("ShearY", -0.3, 0.3),
        ("Solarize", 0, 256),
        ("TranslateX", -0.3, 0.3),
        ("TranslateY", -0.3, 0.3),
    )
