"""Shapes: 100 classes "<colour> <shape>", 64 x 64 pictures that are drawn at first use (see `shapes_world.py`)."""

import json
import os
import tempfile

from PIL import Image
from tqdm import tqdm

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

from .few_shot import data_root, draw_few_shot, read_split, subsample_classes
from .shapes_world import CLASSNAMES, SPLITS, picture


@DATASET_REGISTRY.register()
class Shapes(DatasetBase):
    dataset_dir = "shapes"

    def __init__(self, cfg):
        self.dataset_dir = os.path.join(data_root(cfg), self.dataset_dir)
        self.image_dir = os.path.join(self.dataset_dir, "images")
        self.split_path = os.path.join(self.dataset_dir, "split_zhou_Shapes.json")
        if not os.path.isfile(self.split_path):  # written last, so its presence means complete
            generate(self.image_dir, self.split_path)
        train, val, test = read_split(self.split_path, self.image_dir)
        train, val = draw_few_shot(self, train, val, cfg, self.dataset_dir)
        train, val, test = subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)


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
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _write(path, "wb", Image.fromarray(picture(split, name, index)).save, format="PNG")
            entries[split].append([relative, label, name])
        _write(split_path, "w", lambda file: json.dump(entries, file))
    except OSError as e:
        raise ValueError(
            f"Shapes cannot be drawn in {os.path.dirname(split_path)} ({e.strerror or e}): pass a data root "
            "that can be written to with --root."
        ) from None


def _write(path, mode, save, **kwargs):
    """Call save(file) on a temporary file and rename it to path when it is whole."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
    try:
        with os.fdopen(fd, mode) as file:
            save(file, **kwargs)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; others share the data set
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
