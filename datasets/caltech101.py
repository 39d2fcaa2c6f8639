"""Caltech101 (Fei-Fei et al., 2004) in CoOp's layout and split: 100 classes, no Faces_easy, no background."""

import os

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

from .few_shot import data_root, draw_few_shot, read_split, subsample_classes

IMAGES_URL = "https://data.caltech.edu/records/mzrjq-6wc02"
SPLIT_URL = "https://drive.google.com/file/d/1hyarUivQE36mY6jSomru6Fjd-JzwcCzN/view"


@DATASET_REGISTRY.register()
class Caltech101(DatasetBase):
    dataset_dir = "caltech-101"

    def __init__(self, cfg):
        self.dataset_dir = os.path.join(data_root(cfg), self.dataset_dir)
        self.image_dir = os.path.join(self.dataset_dir, "101_ObjectCategories")
        self.split_path = os.path.join(self.dataset_dir, "split_zhou_Caltech101.json")
        if not os.path.isdir(self.image_dir):
            raise FileNotFoundError(
                f"Caltech101's images are missing: unpack 101_ObjectCategories.tar.gz from {IMAGES_URL} into "
                f"{self.dataset_dir}, so that {self.image_dir} exists, or pass another data root with --root."
            )
        if not os.path.isfile(self.split_path):
            raise FileNotFoundError(
                f"Caltech101's split file is missing: download it from {SPLIT_URL} and save it as {self.split_path}."
            )
        train, val, test = read_split(self.split_path, self.image_dir)
        train, val = draw_few_shot(self, train, val, cfg, self.dataset_dir)
        train, val, test = subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)
