"""Data sets of pictures that a seeded generator draws at first use (see `world.py`)."""

import json
import os
import re
from functools import partial

import numpy as np
from PIL import Image

from dassl.data.datasets import Datum
from dassl.utils import UserError, progress, write_whole

from ..split import SplitDataset
from .world import ROUGH, SPLITS, picture

# A picture on the disk may differ from one that is drawn now by this much, of 255, on average over its pixels. Rounding
# on another machine or by another Pillow stays far below it, another version of the generator is several times above.
TOLERANCE = 0.5
COMPARED = 8  # pictures that are drawn again whenever a data set is read


class DrawnDataset(SplitDataset):
    """Pictures of a seeded generator. A subclass says of which classes, how many, and what is in them.

    Folder and split file are called after the subclass: MiniFine has mini_fine/split_zhou_MiniFine.json.

    Raises ValueError if the folder cannot be written to, or holds what another version of the generator drew.
    """

    image_dir = "images"
    names = ()  # class names in the order of labels
    splits = SPLITS  # pictures per class
    look = ROUGH
    series = "shapes"  # see `world.picture`

    def __init_subclass__(cls):
        cls.dataset_dir = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        cls.split_file = f"split_zhou_{cls.__name__}.json"

    def picture(self, split, name, index):
        return picture(split, name, index, self.compose, self.look, self.series)

    def compose(self, rng, name):
        """The scene of a picture of the class `name`, from a `random.Random`."""
        raise NotImplementedError

    def read(self, cfg, item=Datum):
        jobs = [
            (split, index, [f"{name.replace(' ', '_')}/{split}_{index:02d}.png", label, name])
            for split, count in self.splits.items()
            for label, name in enumerate(self.names)
            for index in range(count)
        ]
        split_path = os.path.join(self.dataset_dir, self.split_file)
        content = {part: [entry for split, _, entry in jobs if split == part] for part in SPLITS}
        if not os.path.isfile(split_path):  # it is written last: where it is, the pictures are complete
            self.generate(jobs, split_path, content)
        with open(split_path, encoding="utf-8", errors="replace") as f:
            fresh = f.read() == json.dumps(content)
        if not fresh or any(self.differs(*job) for job in jobs[:: max(1, len(jobs) // COMPARED)]):
            raise UserError(
                f"{self.dataset_dir} does not hold what this version of {type(self).__name__} draws: delete that "
                "folder, and the next run draws it again."
            )
        return super().read(cfg, item)

    def generate(self, jobs, split_path, content):
        """Draw every picture, then write the split file in CoOp's format.

        May be stopped at any time and started again, also beside another process that does the same: files appear
        whole or not at all, those that exist are kept, and the split file is written last.
        """
        name = type(self).__name__
        try:
            for split, index, (file, _, classname) in progress(jobs, f"Drawing {name}, once", "picture"):
                path = os.path.join(self.image_dir, file)
                if not os.path.exists(path):
                    image = Image.fromarray(self.picture(split, classname, index))
                    write_whole(path, partial(image.save, format="PNG"), "wb")
            write_whole(split_path, lambda file: json.dump(content, file))
        except ValueError as e:
            if not isinstance(e.__cause__, OSError):
                raise
            raise UserError(
                f"{name} cannot be drawn in {self.dataset_dir} ({e.__cause__.strerror or e.__cause__}): pass a data "
                "root that can be written to with --root."
            ) from None

    def differs(self, split, index, entry):
        """Whether a picture's file is damaged, missing, or drawn by another version of the generator."""
        file, _, name = entry
        try:
            with Image.open(os.path.join(self.image_dir, file)) as image:
                kept = np.asarray(image, dtype=np.float32)
        except OSError:
            return True
        drawn = self.picture(split, name, index)
        return kept.shape != drawn.shape or np.abs(kept - drawn).mean() > TOLERANCE
