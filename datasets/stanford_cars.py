"""StanfordCars (Krause et al., 2013): class names are year, make and model ("2012 Tesla Model S")."""

from dassl.data.datasets import DATASET_REGISTRY

from .split import SplitDataset


@DATASET_REGISTRY.register()
class StanfordCars(SplitDataset):
    dataset_dir = "stanford_cars"  # the split file's paths start with cars_train/ and cars_test/
    split_file = "split_zhou_StanfordCars.json"
    expected_classes = 196
    expected_images = (6_509, 1_635, 8_041)

    @classmethod
    def files(cls):
        return "cars_train", "cars_test", cls.split_file
