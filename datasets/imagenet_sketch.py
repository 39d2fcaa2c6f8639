"""ImageNet-Sketch (Wang et al., 2019): sketches of all classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    dataset_dir = "imagenet-sketch"
    image_dir = "images"
    expected_classes = 1_000
    expected_images = (None, None, 50_889)
