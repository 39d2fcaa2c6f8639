"""RandAugment is Dassl's: the lists, strengths and draws of its public code, whose numbers stand here."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from dassl.config import get_cfg_default
from dassl.data.randaugment import OPERATIONS, RandAugment, RandAugment2, RandAugmentFixMatch
from dassl.data.transforms import build_transform

EVERYWHERE = {  # strengths at the ends of the range, of operations that all three lists have
    "AutoContrast": (0, 1),
    "Equalize": (0, 1),
    "Posterize": (4, 8),
    "Solarize": (0, 256),
}
OF_RANDAUGMENT2 = {
    **EVERYWHERE,
    "Identity": (0, 1),
    "Invert": (0, 1),
    "Rotate": (-30, 30),
    **dict.fromkeys(["Color", "Contrast", "Brightness", "Sharpness"], (0.1, 1.9)),
    **dict.fromkeys(["ShearX", "ShearY", "TranslateX", "TranslateY"], (-0.3, 0.3)),
}
# What the public code makes of `picture(0)` to `picture(23)` with both generators seeded with 1: the mean level of
# each, and what Python's generator and NumPy's give next
PUBLISHED = {
    RandAugment: (
        "119.9 125.4 121.4 127.8 68.9 128.7 117.5 130.8 97.9 69.8 112.0 116.9 122.7 142.6 121.5 102.4 "
        "81.9 66.4 132.4 63.6 97.3 117.0 191.3 113.4",
        0.374703,
        0.396767,
    ),
    RandAugment2: (
        "81.7 136.1 132.2 123.2 130.7 117.5 129.2 108.9 109.1 129.8 112.9 123.0 130.4 141.6 133.5 75.2 "
        "109.7 118.1 134.7 112.6 116.1 113.3 185.6 120.8",
        0.272914,
        0.417022,
    ),
    RandAugmentFixMatch: (
        "118.7 134.6 125.1 121.0 92.6 137.5 122.5 129.4 82.2 94.2 98.8 128.2 104.7 142.7 130.8 121.1 "
        "96.1 109.3 133.0 96.4 74.7 101.5 124.5 120.8",
        0.229605,
        0.417022,
    ),
}


def picture(seed, side=224):
    small = np.random.RandomState(seed).randint(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def ends(transform):
    assert len({name for name, *_ in transform.operations}) == len(transform.operations)
    return {name: (low, high) for name, low, high in transform.operations}


def test_the_lists_are_dassls():
    assert ends(RandAugment()) == {
        **EVERYWHERE,
        "Invert": (0, 1),
        "Rotate": (0, 30),
        "SolarizeAdd": (0, 110),
        **dict.fromkeys(["Color", "Contrast", "Brightness", "Sharpness"], (0.1, 1.9)),
        **dict.fromkeys(["ShearX", "ShearY"], (0.0, 0.3)),
        "Cutout": (0, 40),
        **dict.fromkeys(["TranslateXabs", "TranslateYabs"], (0.0, 100)),
    }
    assert ends(RandAugment2()) == OF_RANDAUGMENT2
    milder = dict.fromkeys(["Color", "Contrast", "Brightness", "Sharpness"], (0.05, 0.95))
    fixmatch = {**OF_RANDAUGMENT2, **milder}
    del fixmatch["Invert"]
    assert ends(RandAugmentFixMatch()) == fixmatch


@pytest.mark.parametrize("transform", PUBLISHED, ids=lambda cls: cls.__name__)
def test_equal_seeds_give_the_pictures_of_the_public_code(transform):
    means, python, numpy = PUBLISHED[transform]
    augment, pictures = transform(), [picture(seed) for seed in range(24)]
    seed_all(1)
    ours = [np.asarray(augment(image)).mean() for image in pictures]
    # half a level for another version of Pillow; an operation or a strength that is another one is several levels
    assert ours == pytest.approx(list(map(float, means.split())), abs=0.5)
    assert random.random() == pytest.approx(python, abs=1e-6)  # no draw more and none less
    assert np.random.rand() == pytest.approx(numpy, abs=1e-6)


def levels(name, value, image):
    return np.asarray(OPERATIONS[name](image, value)).astype(int)


def test_operations_on_levels():
    image = picture(3, 32)
    x = np.asarray(image).astype(int)
    assert (levels("Identity", 0, image) == x).all() and (levels("Invert", 0, image) == 255 - x).all()
    assert (levels("Solarize", 85.33, image) == np.where(x < 85.33, x, 255 - x)).all()
    added = np.clip(np.floor(x + 36.67), 0, 255)
    assert (levels("SolarizeAdd", 36.67, image) == np.where(added < 128, added, 255 - added)).all()
    assert (levels("Posterize", 5.33, image) == x // 8 * 8).all()
    assert abs(levels("Brightness", 0.7, image) - 0.7 * x).max() <= 1
    for name in ("Color", "Contrast", "Sharpness"):
        assert (levels(name, 0.7, image) == np.asarray(getattr(ImageEnhance, name)(image).enhance(0.7))).all()
    for name, function in (("AutoContrast", ImageOps.autocontrast), ("Equalize", ImageOps.equalize)):
        assert (levels(name, 1, image) == np.asarray(function(image))).all()


@pytest.mark.parametrize("seed", range(6))
def test_geometric_operations_go_either_way(seed):
    image = picture(seed, 40)
    x = np.asarray(image).astype(int)
    random.seed(seed)
    sign = -1 if random.random() > 0.5 else 1

    def made(name, value):
        random.seed(seed)
        return levels(name, value, image)

    empty = np.zeros_like(x)
    for name, axis, value in (("TranslateXabs", 1, 10), ("TranslateX", 1, 0.25), ("TranslateYabs", 0, 10)):
        expected = np.roll(x, -10 * sign, axis=axis)
        black = slice(-10, None) if sign > 0 else slice(None, 10)
        expected[(slice(None),) * axis + (black,)] = 0
        assert (made(name, value) == expected).all()
    assert (made("TranslateY", 0.25) == made("TranslateYabs", 10)).all()
    assert (made("Rotate", 20) == np.asarray(image.rotate(20 * sign))).all()
    sheared = made("ShearX", 0.25)
    assert (sheared[0] == x[0]).mean() > 0.8 and (sheared[39] != x[39]).mean() > 0.5  # lower rows move more
    assert not (made("ShearY", 0.25) == sheared).all() and not (sheared == empty).all()


def test_cutout_is_a_grey_square():
    image, sizes = Image.new("RGB", (100, 80)), set()
    for seed in range(60):
        np.random.seed(seed)
        grey = (levels("Cutout", 13.33, image) == (125, 123, 114)).all(axis=-1)
        rows, columns = grey.any(axis=1).sum(), grey.any(axis=0).sum()
        assert grey.sum() == rows * columns
        sizes.add((rows, columns))
    assert max(sizes) in {(14, 14), (14, 15), (15, 14), (15, 15)} and min(sizes)[0] >= 6


def test_only_randaugment2_leaves_operations_out(monkeypatch):
    drawn = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda image, value: drawn.append(value))
    random.seed(0)
    for _ in range(1000):
        RandAugment2(2)(None)
    assert len(drawn) == pytest.approx(2 * 1000 * 0.6, rel=0.05)
    drawn.clear()
    for _ in range(100):
        RandAugment(3)(None), RandAugmentFixMatch(3)(None)
    assert len(drawn) == 600


@pytest.mark.parametrize(
    "choice, transform",
    [
        ("randaugment", "RandAugment(n=3, m=7)"),
        ("randaugment2", "RandAugment2(n=3, p=0.6)"),
        ("randaugment_fixmatch", "RandAugmentFixMatch(n=3)"),
    ],
)
def test_names_in_a_config(choice, transform):
    cfg = get_cfg_default()
    cfg.INPUT.RANDAUGMENT_N, cfg.INPUT.RANDAUGMENT_M = 3, 7
    assert transform in str(build_transform(cfg, choices=[choice]))
