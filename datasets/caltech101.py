"""Caltech101 (Fei-Fei et al., 2004) in CoOp's split: 100 classes, no Faces_easy, no background."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class Caltech101(SplitDataset):
    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    expected_classes = 100
    expected_images = (4_128, 1_649, 2_465)
