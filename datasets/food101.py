"""Food101 (Bossard et al., 2014) in CoOp's split, not the official one."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class Food101(SplitDataset):
    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
    expected_classes = 101
    expected_images = (50_500, 20_200, 30_300)
