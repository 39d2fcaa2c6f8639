"""JPEGs to read."""

import os

import numpy as np
from PIL import Image


def make_pictures(folders, n, side):
    """Write `n` square pictures of `side` pixels with smooth random contents, to the folders in turn; their paths."""
    rng, paths = np.random.RandomState(0), []
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    for i in range(n):
        paths.append(os.path.join(folders[i % len(folders)], f"{i}.jpg"))
        coarse = Image.fromarray(rng.randint(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.BICUBIC).save(paths[-1])
    return paths
