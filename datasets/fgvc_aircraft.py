"""FGVCAircraft (Maji et al., 2013): aircraft variants, in the official split, which its own text files hold."""

import os

from dassl.data.datasets import DATASET_REGISTRY, Datum
from dassl.utils import UserError

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
        labels = {name: label for label, name in enumerate(self._lines("variants.txt"))}
        return tuple([self._item(item, line, labels, name) for line in self._lines(name)] for name in LISTS)

    def _lines(self, name):
        with open(os.path.join(self.dataset_dir, name), encoding="utf-8") as f:
            return [line.strip() for line in f if line.strip()]

    def _item(self, item, line, labels, name):
        """One line is "<image name without .jpg> <variant>", and variants may hold spaces."""
        image, _, variant = line.partition(" ")
        if variant not in labels:
            raise UserError(
                f'{os.path.join(self.dataset_dir, name)} names the variant "{variant}", which is not in variants.txt: '
                "unpack both again from one archive."
            )
        return item(os.path.join(self.image_dir, f"{image}.jpg"), label=labels[variant], classname=variant)
