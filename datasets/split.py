"""What the loaders of the public data sets share; each of them is then a few facts about its files."""

import os

from dassl.data.datasets import DatasetBase, Datum
from dassl.utils import UserError

from .few_shot import data_root, draw_few_shot, read_split, subsample_classes
from .published import sample_origin, split_origin
from .sources import require


class SplitDataset(DatasetBase):
    """A folder of images with fixed training, validation and test parts, in CoOp's layout.

    A subclass states where its files are and how many there should be; one that has no split file overrides
    `read`. Raises FileNotFoundError for a missing file, with the step of DATASETS.md that gets it, and ValueError
    for a damaged one.
    """

    dataset_dir = ""  # in the data root
    image_dir = ""  # in dataset_dir; what the split file's paths are relative to
    split_file = ""  # in dataset_dir
    expected_classes = None
    expected_images = (None, None, None)  # train, val, test before few-shot sampling; None: not checked

    def __init__(self, cfg):
        self.locate(cfg)
        train, val, test = self.read(cfg)
        self.compare_sizes(train, val, test)
        self.say_origin()
        train, val = draw_few_shot(self, train, val, cfg, self.dataset_dir)
        drawn = sample_origin(type(self).__name__, train, val, cfg.DATASET.NUM_SHOTS, cfg.SEED, self.dataset_dir)
        self.origin.update({"sample": drawn} if drawn else {})
        train, val, test = subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)

    def locate(self, cfg):
        """Make the folders' names absolute."""
        self.dataset_dir = os.path.join(data_root(cfg), self.dataset_dir)
        self.image_dir = os.path.normpath(os.path.join(self.dataset_dir, self.image_dir))

    def require(self, *names):
        """Raise FileNotFoundError for the first of these files or folders of the data set that is missing."""
        require(type(self).__name__, self.dataset_dir, *names)

    @classmethod
    def files(cls):
        """The files and folders in dataset_dir without which the data set cannot be read."""
        return cls.image_dir, cls.split_file

    def read(self, cfg, item=Datum):
        """Lists of Datum: train, val, test. Labels are 0 to n - 1; val may be None.

        `item` is what an image becomes: Datum raises FileNotFoundError if the image is missing, ListedImage (see
        `listing.py`) does not look.
        """
        self.require(*self.files())
        return read_split(os.path.join(self.dataset_dir, self.split_file), self.image_dir, item)

    def wrong_sizes(self, train, val, test):
        """A phrase for every number that is not as published, such as "46 classes instead of 47"."""
        found = [("classes", len({item.label for item in test}), self.expected_classes)]
        for part, items, expected in zip(("train", "val", "test"), (train, val, test), self.expected_images):
            found.append((f"{part} images", len(items or ()), expected))
        return [f"{n:,} {what} instead of {right:,}" for what, n, right in found if right not in (None, n)]

    def say_origin(self):
        """Print whether the split is CoOp's, and note it in `origin`: what metrics.json says of the images."""
        path = os.path.join(self.dataset_dir, self.split_file) if self.split_file else ""
        found = split_origin(type(self).__name__, path)
        self.origin = {"split_file": found[0]} if found else {}
        if found:
            print(found[1])

    def compare_sizes(self, train, val, test):
        """Print a warning that names every number that is not as published."""
        wrong = self.wrong_sizes(train, val, test)
        if wrong:
            print(
                f"Warning: {type(self).__name__} has {', '.join(wrong)}: results do not compare to published ones. "
                "DATASETS.md says how to get all of it."
            )


def warn_of_best_val(dataset, cfg):
    """Print a warning if the model of a run on this data set is chosen on its test images."""
    if cfg.TEST.FINAL_MODEL == "best_val":
        print(
            f"Warning: {dataset} has no validation images beside its test images, so TEST.FINAL_MODEL best_val chooses "
            "the model on the test set: use last_step for numbers that you report."
        )


class TestOnlyDataset(SplitDataset):
    """A test set for models that were trained on another data set with the same classes.

    Dassl takes the classes from the training images, so they are the test images again, as in CoOp's loaders, and so
    are the validation images. NUM_SHOTS has no effect. Raises ValueError if asked for half of the classes, which CoOp's
    loaders would ignore.
    """

    def __init__(self, cfg):
        name = type(self).__name__
        if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
            raise UserError(f"{name} is tested on all of its classes: set DATASET.SUBSAMPLE_CLASSES to all.")
        self.locate(cfg)
        warn_of_best_val(name, cfg)
        _, _, images = self.read(cfg)
        self.compare_sizes(None, None, images)
        self.say_origin()
        DatasetBase.__init__(self, train_x=images, val=images, test=images)
