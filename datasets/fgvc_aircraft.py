"""FGVCAircraft (Maji et al., 2013): aircraft variants, in the official split, which its own text files hold."""

import os

from dassl.data.datasets import DATASET_REGISTRY, Datum
from dassl.utils import UserError, read_lines

from .split import SplitDataset

LISTS = tuple(f"images_variant_{part}.txt" for part in ("train", "val", "test"))


@DATASET_REGISTRY.register()
class FGVCAircraft(SplitDataset):
    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    expected_classes = 100
    expected_images = (3_334, 3_333, 3_333)

    @classmethod
    def files(cls):
        return cls.image_dir, "variants.txt", *LISTS

    def read(self, cfg, item=Datum):
        self.require(*self.files())
        labels = {}
        for number, name in self._lines("variants.txt"):
            if name in labels:
                raise UserError(f'{self._path("variants.txt")}, line {number}, has "{name}" again: name it once.')
            labels[name] = len(labels)
        return tuple([self._item(item, *line, labels, name) for line in self._lines(name)] for name in LISTS)

    def _path(self, name):
        return os.path.join(self.dataset_dir, name)

    def _lines(self, name):
        return [(number, " ".join(line.split())) for number, line in read_lines(self._path(name))]

    def _item(self, item, number, line, labels, name):
        """One line is "<image name without .jpg> <variant>", and variants may hold spaces."""
        image, _, variant = line.partition(" ")
        if variant not in labels:
            raise UserError(
                f'{self._path(name)}, line {number}, names the variant "{variant:.60}", which is not in '
                'variants.txt: lines are "<image> <variant>", so unpack both again from one archive.'
            )
        return item(os.path.join(self.image_dir, f"{image}.jpg"), label=labels[variant], classname=variant)
