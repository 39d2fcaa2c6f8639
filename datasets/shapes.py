"""Shapes: 100 classes "<colour> <shape>", 64 x 64 pictures that are drawn at first use (see `shapes_world.py`)."""

import json
import os
from functools import partial

from PIL import Image
from tqdm import tqdm

from dassl.data.datasets import DATASET_REGISTRY

from .files import write_whole
from .shapes_world import CLASSNAMES, SPLITS, picture
from .split import SplitDataset


@DATASET_REGISTRY.register()
class Shapes(SplitDataset):
    dataset_dir = "shapes"
    image_dir = "images"
    split_file = "split_zhou_Shapes.json"

    def read(self, cfg):
        split_path = os.path.join(self.dataset_dir, self.split_file)
        if not os.path.isfile(split_path):  # written last, so its presence means complete
            generate(self.image_dir, split_path)
        return super().read(cfg)


def generate(image_dir, split_path):
    """Draw every picture below image_dir, then write the split file in CoOp's format.

    May be stopped at any time and started again, also beside another process that does the same: files appear
    whole or not at all, those that exist are kept, and the split file is written last.
    Raises ValueError if the folder cannot be written to.
    """
    jobs = [
        (split, label, index)
        for split, count in SPLITS.items()
        for label in range(len(CLASSNAMES))
        for index in range(count)
    ]
    entries = {split: [] for split in SPLITS}
    try:
        for split, label, index in tqdm(jobs, desc="Drawing Shapes, once", unit="picture"):
            name = CLASSNAMES[label]
            relative = f"{name.replace(' ', '_')}/{split}_{index:02d}.png"
            path = os.path.join(image_dir, relative)
            if not os.path.exists(path):
                image = Image.fromarray(picture(split, name, index))
                write_whole(path, partial(image.save, format="PNG"), "wb")
            entries[split].append([relative, label, name])
        write_whole(split_path, lambda file: json.dump(entries, file))
    except OSError as e:
        raise ValueError(
            f"Shapes cannot be drawn in {os.path.dirname(split_path)} ({e.strerror or e}): pass a data root "
            "that can be written to with --root."
        ) from None
