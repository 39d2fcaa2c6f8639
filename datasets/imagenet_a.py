"""ImageNet-A (Hendrycks et al., 2021): natural adversarial examples of 200 classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"
    expected_classes = 200
    expected_images = (None, None, 7_500)
