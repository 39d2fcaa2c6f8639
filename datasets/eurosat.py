"""EuroSAT (Helber et al., 2019): satellite photos. The split file spells its class names out ("Sea or Lake")."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class EuroSAT(SplitDataset):
    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"
    expected_classes = 10
    expected_images = (13_500, 5_400, 8_100)
