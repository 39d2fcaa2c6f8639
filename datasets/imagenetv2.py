"""ImageNetV2 (Recht et al., 2019), matched frequency: its folders are numbered, not named."""

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils import UserError

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    expected_classes = 1_000
    expected_images = (None, None, 10_000)

    def classes_of(self, listing, names):
        """Folder i holds the class with the i-th WordNet id; as text, "10" would come before "2"."""
        folders = sorted((name for name in listing if name.isdecimal()), key=int)
        if [int(name) for name in folders] != list(range(len(folders))) or not 0 < len(folders) <= len(names):
            raise UserError(
                f"{self.image_dir} should hold folders numbered from 0 to {len(names) - 1} without a gap, one for each "
                "line of classnames.txt: unpack the data set again (DATASETS.md)."
            )
        return list(zip(folders, names.values()))
