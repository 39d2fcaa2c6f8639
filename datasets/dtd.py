"""DescribableTextures (DTD; Cimpoi et al., 2014) in CoOp's split, not the official one."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class DescribableTextures(SplitDataset):
    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"
    expected_classes = 47
    expected_images = (2_820, 1_128, 1_692)
