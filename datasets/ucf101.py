"""UCF101 (Soomro et al., 2012): the middle frame of each video, first of the official partitions."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class UCF101(SplitDataset):
    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    expected_classes = 101
    expected_images = (7_639, 1_898, 3_783)
