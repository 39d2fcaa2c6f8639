"""A batch of images on its way from the trainer, through a method, to the image encoder."""

from typing import Callable, Optional, Union

import torch

Features = Callable[[torch.Tensor], torch.Tensor]  # pixels (B, 3, H, W) -> what `PromptedCLIP.frozen_image` gives


class ImageBatch:
    """Pixels, and what is known of them beforehand, so that it need not be computed or waited for.

    The trainer makes it of a loader's batch (`PromptTrainer.parse_batch_train`, `parse_batch_test`), a method passes it
    on unread as its `image`, and `ImageEncoder` opens it. Wherever one may stand, a plain tensor (B, 3, H, W) may: then
    nothing is known.

    Args:
        pixels: (B, 3, H, W) on the device; (B, 0, 0, 0) if the method needs only features that are stored.
        features: gives, of the pixels, what `ImageEncoder` makes of them without tokens and hooks: (B, dim), not
            normalised; for a method with `frozen_layers`, what comes out of those (`PromptedCLIP.frozen_outputs`).
            They are of the run's own encoder: another model (a teacher) gets the pixels alone.
        labels: (B,) in the host's memory, for what depends on them: to ask a GPU for its copy is to wait for it.
    """

    def __init__(
        self, pixels: torch.Tensor, features: Optional[Features] = None, labels: Optional[torch.Tensor] = None
    ):
        self.pixels, self.features, self.labels = pixels, features, labels


Image = Union[torch.Tensor, ImageBatch]


def pixels_of(image: Image) -> torch.Tensor:
    """(B, 3, H, W)"""
    return image.pixels if isinstance(image, ImageBatch) else image


def labels_on_host(image: Image, label: torch.Tensor) -> torch.Tensor:
    """The labels `label` (B,) of the images, in the host's memory."""
    known = image.labels if isinstance(image, ImageBatch) else None
    return label.cpu() if known is None else known
