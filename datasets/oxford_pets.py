"""OxfordPets (Parkhi et al., 2012): breeds of cats and dogs."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class OxfordPets(SplitDataset):
    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_file = "split_zhou_OxfordPets.json"
    expected_classes = 37
    expected_images = (2_944, 736, 3_669)
