"""ImageNet (ILSVRC 2012; Deng et al., 2009), and what its variants share with it."""

import os
import re

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils import UserError, read_lines

from .listing import ListedImage, labelled, list_classes, list_parts
from .sources import how_to_get
from .split import SplitDataset, TestOnlyDataset, warn_of_best_val

CLASSNAMES = "classnames.txt"
FORM = 'write lines such as "n01440764 tench", or download CoOp\'s list again (DATASETS.md)'


def read_classnames(path):
    """Class names by WordNet id, in the order of the ids, from lines "<id> <class name>".

    Raises UserError, with the line, for one of another form.
    """
    names, seen = {}, {}
    for number, line in read_lines(path):
        wnid, *name = line.split(None, 1)
        where = f"{path}, line {number},"
        if not re.fullmatch(r"n\d+", wnid):
            form = "of a Python dictionary or JSON" if line[0] in "{[}]\"'" else "of another list"
            raise UserError(f'{where} is "{line:.60}", {form}: {FORM}.')
        if not name:
            raise UserError(f"{where} has no class name: {FORM}.")
        if re.match(r"[\d\W]", name[0]) or "," in name[0]:  # counted, in quotes, or WordNet's synonyms
            raise UserError(f'{where} has "{name[0]:.60}" for a name, as another list has it: {FORM}.')
        if wnid in seen:
            raise UserError(f"{where} names {wnid}, as line {seen[wnid]} does: name each class once.")
        names[wnid], seen[wnid] = name[0], number
    return dict(sorted(names.items()))


def named_classes(dataset, image_dir, folder, listing, names):
    """The listed folders that `names` (by WordNet id) knows, as (folder, class name) in the order of labels.

    Other folders are passed over, which is said. Raises ValueError if none is left.
    """
    other = [name for name in listing if name not in names]
    if other:
        some = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
        print(f"Passed over in {folder}, since {CLASSNAMES} does not name them: {some}")
    classes = [(name, names[name]) for name in sorted(listing) if name in names]
    if not classes:
        raise UserError(
            f"{folder} holds no class folder that {CLASSNAMES} names (n01440764 and so on): "
            f"{how_to_get(dataset, image_dir)}."
        )
    return classes


@DATASET_REGISTRY.register()
class ImageNet(SplitDataset):
    """1,000 classes, labels in the order of their WordNet ids. Its validation images are the test set, as in CoOp.

    Images are taken in the order of their names (CoOp's few-shot samples follow the order of the disk). The list of
    files is kept in `image_list.json`; only folders that have changed are read again.
    """

    dataset_dir = "imagenet"
    image_dir = "images"
    shared_names = True  # CLIP's names have "missile" and "sunglasses" twice
    expected_classes = 1_000
    expected_images = (1_281_167, None, 50_000)

    def __init__(self, cfg):
        super().__init__(cfg)
        self.val = self.test

    @classmethod
    def files(cls):
        return CLASSNAMES, "images/train", "images/val"

    def read(self, cfg, item=ListedImage):
        self.require(*self.files())
        names = read_classnames(os.path.join(self.dataset_dir, CLASSNAMES))
        listing = list_parts(self.image_dir, ("train", "val"), self.dataset_dir, cfg.OUTPUT_DIR)
        classes = {}
        for part, folders in listing.items():
            folder = os.path.join(self.image_dir, part)
            classes[part] = named_classes(type(self).__name__, f"images/{part}", folder, folders, names)
        different = sorted(set(classes["train"]) ^ set(classes["val"]))
        if different:
            raise UserError(
                f"{self.image_dir} has {len(different)} classes only in train or only in val ({different[0][0]}): "
                "both must have the same, so unpack the part that lacks them."
            )
        warn_of_best_val(type(self).__name__, cfg)
        train, test = (labelled(os.path.join(self.image_dir, p), listing[p], classes[p]) for p in ("train", "val"))
        return train, None, test


class ImageNetVariant(TestOnlyDataset):
    """A test set for models that were trained on ImageNet: a folder of images per class."""

    shared_names = ImageNet.shared_names

    @classmethod
    def files(cls):
        return CLASSNAMES, cls.image_dir

    def read(self, cfg, item=ListedImage):
        self.require(*self.files())
        names = read_classnames(os.path.join(self.dataset_dir, CLASSNAMES))
        listing = list_classes(self.image_dir)
        return None, None, labelled(self.image_dir, listing, self.classes_of(listing, names))

    def classes_of(self, listing, names):
        """(folder, class name) in the order of labels."""
        return named_classes(type(self).__name__, type(self).image_dir, self.image_dir, listing, names)
