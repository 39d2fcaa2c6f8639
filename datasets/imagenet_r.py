"""ImageNet-R (Hendrycks et al., 2021): art, toys and other renditions of 200 classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"
    expected_classes = 200
    expected_images = (None, None, 30_000)
