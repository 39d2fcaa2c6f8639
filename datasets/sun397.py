"""SUN397 (Xiao et al., 2010): scenes, first of the official partitions."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class SUN397(SplitDataset):
    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_file = "split_zhou_SUN397.json"
    expected_classes = 397
    expected_images = (15_880, 3_970, 19_850)
