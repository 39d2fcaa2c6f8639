"""OxfordFlowers (Flowers102; Nilsback and Zisserman, 2008) in CoOp's split, not the official one."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class OxfordFlowers(SplitDataset):
    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    expected_classes = 102
    expected_images = (4_093, 1_633, 2_463)
