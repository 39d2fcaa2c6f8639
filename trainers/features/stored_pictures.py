"""Pictures as a transform leaves them before they become numbers, decoded and resized once and kept.

Such pixels (H, W, 3), uint8, are a fraction of what a picture costs to decode, and 150 KB each at 224 x 224. They are
kept where a GPU encodes them, which a processor's decoder keeps waiting; beside a model on a CPU, decoding is a few
percent. What follows them in the transform is the same for each pixel of a channel, so a table of what it makes of
0 to 255 stands for it: the images are those of the transform to the last bit, on any device.
"""

import copy
import os
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms as T
from PIL import Image
from torch.utils.data import Dataset

import dassl
from dassl.data.data_manager import DatasetWrapper

from ..files.known_content import store_folder
from .blocks import Block, WithoutPixels
from .feature_store import PIXELS, FeatureStore, digest

VERSION = 1  # of the pixels: raised when a transform makes others under the same text
PICTURES = 128  # in a block: 18 MiB at 224 x 224


def pays(device: torch.device) -> bool:
    """Whether pictures are kept for a model on `device`."""
    return device.type != "cpu"


def as_pixels(picture: Image.Image) -> torch.Tensor:
    """(H, W, 3), uint8"""
    return torch.from_numpy(np.array(picture))


class Halves(NamedTuple):
    """A transform, cut where a picture becomes numbers."""

    text: str  # of the half that makes pixels, with all its settings
    to_pixels: T.Compose  # a PIL image -> (H, W, 3), uint8
    table: np.ndarray  # (3, 256): what becomes of a channel's 0 to 255

    def images(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        """pixels (B, H, W, 3), uint8 -> what the transform makes of the pictures, (B, 3, H, W), on the device."""
        if device.type != "cpu":
            return self.looked_up(pixels.to(device, non_blocking=True))
        images = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
        for image, picture in zip(images, pixels.numpy()):
            for channel in range(3):  # faster than arithmetic on the whole, which leaves the caches
                np.take(self.table[channel], picture[..., channel], out=image[channel], mode="clip")
        return torch.from_numpy(images)

    def looked_up(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same where the pixels are."""
        first = torch.arange(0, self.table.size, 256, device=pixels.device).view(3, 1, 1)  # of each channel's 256
        table = torch.from_numpy(self.table).to(pixels.device).flatten()
        return table[first + pixels.permute(0, 3, 1, 2).contiguous()]


def halves_of(transform: Any) -> Optional[Halves]:
    """None for a transform that is not PIL's, `ToTensor` and at most `Normalize`, in this order."""
    steps = list(getattr(transform, "transforms", []))
    cut = next((i for i, step in enumerate(steps) if type(step) is T.ToTensor), None)
    if cut is None or any(type(step) is not T.Normalize for step in steps[cut + 1 :]):
        return None
    values = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    table = T.Compose(steps[cut:])(Image.fromarray(values)).numpy().reshape(3, 256)
    return Halves(repr(steps[:cut]), T.Compose([*steps[:cut], as_pixels]), table)


def pixels_kind(halves: Halves, drawn: Optional[Dict[str, Any]] = None) -> str:
    """Of all that pixels depend on but the picture: JSON values; drawn: see `View`."""
    what = {
        "version": VERSION,
        "transform": halves.text,
        "drawn": drawn,
        "packages": [torch.__version__, torchvision.__version__, PIL.__version__],
        "dassl": getattr(dassl, "__version__", ""),  # the original reads deep pictures otherwise than ours
    }
    return f"{PIXELS}{digest(what)}"


class StoredPictures(Dataset):
    """A data set of Dassl's whose "img" is pixels (H, W, 3), uint8, from the store or decoded.

    Args:
        images: Dassl's `DatasetWrapper`, or a `View` of one.
        device: where the images are needed.
    """

    found = 0  # pictures that came from the store

    def __init__(self, images: Dataset, halves: Halves, store: FeatureStore, device: torch.device):
        self.decoded, self.halves, self.device = with_transform(images, halves.to_pixels), halves, device
        self.bare, items, drawn = WithoutPixels(images), images.data_source, getattr(images, "drawn", None)
        kind = pixels_kind(halves, drawn)
        self.blocks: List[Block] = [
            Block([[i] for i in range(start, min(start + PICTURES, len(items)))], items, kind, store, drawn is not None)
            for start in range(0, len(items), PICTURES)
        ]

    def __len__(self):
        return len(self.bare)

    def __getitem__(self, index):
        pixels = self.blocks[index // PICTURES].get(index % PICTURES)
        return self.decoded[index] if pixels is None else {**self.bare[index], "img": pixels[0]}

    def has(self, indices: Iterable[int]) -> bool:
        """Whether none of the pictures needs decoding, unless its block is damaged."""
        return all(self.blocks[number].is_there for number in {index // PICTURES for index in indices})

    def images(self, batch: Dict[str, Any], keep: bool) -> torch.Tensor:
        """The images (B, 3, H, W) of a loader's batch of this data set, on the device.

        keep: whether the pixels are to be stored; they are, if batches come in the order of the data set.
        """
        for index, pixels in zip(batch["index"].tolist(), batch["img"]):
            block, number = self.blocks[index // PICTURES], index % PICTURES
            self.found += block.stored is not None
            if keep and block.stored is None:
                block.add(number, pixels[None])
                if number + 1 == len(block.batches):
                    block.keep()
        return self.halves.images(batch["img"], self.device)


class StoredLists:
    """Pixels of lists of files, each list kept together."""

    def __init__(self, kind: str, store: FeatureStore):
        self.kind, self.store = kind, store

    def pixels(self, paths: Sequence[Any], decode: Callable[[], List[Any]]) -> List[Any]:
        """Of each file (H, W, 3), uint8, from the store or by decode(), whose answers are kept if all are pixels."""
        if not all(isinstance(path, (str, os.PathLike)) for path in paths):
            return decode()
        items = [SimpleNamespace(impath=os.fspath(path)) for path in paths]
        block = Block([[i] for i in range(len(paths))], items, self.kind, self.store, drawn=False)
        if block.stored is not None:
            return list(np.array(block.stored))
        decoded = decode()
        if all(isinstance(pixels, np.ndarray) for pixels in decoded):
            for number, pixels in enumerate(decoded):
                block.add(number, torch.from_numpy(pixels[None]))
            block.keep()
        return decoded


def with_transform(images: Dataset, transform: Any) -> Dataset:
    """The same data set, or view of one, with another transform."""
    images = copy.copy(images)
    images.transform = transform
    if hasattr(images, "images"):
        images.images = with_transform(images.images, transform)
    return images


def stored_pictures(images: Dataset, store: FeatureStore, device: torch.device) -> Optional[StoredPictures]:
    """None where keeping pictures does not pay, is turned off, or would not give the same images."""
    wrapper = getattr(images, "images", images)
    if store.max_bytes == 0 or not pays(device) or type(wrapper) is not DatasetWrapper:
        return None
    halves = halves_of(images.transform)
    if halves is None or wrapper.k_tfm > 1 or wrapper.return_img0 or " at 0x" in halves.text:
        return None
    return StoredPictures(images, halves, store, device)


def stored_lists(cfg, run: str, transform: Any, device: torch.device) -> Optional[StoredLists]:
    """For what a run in the folder `run` predicts; None where keeping pictures does not pay, or is turned off."""
    halves = halves_of(transform)
    if cfg.STORE.MAX_GB == 0 or not pays(device) or halves is None:
        return None
    return StoredLists(pixels_kind(halves), FeatureStore(store_folder(cfg, run), int(cfg.STORE.MAX_GB * 2**30)))
