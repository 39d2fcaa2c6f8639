"""Which pictures' frozen features a run takes from the feature store, and which it encodes and keeps.

The frozen image encoder gives a picture the same features in each epoch, method and seed. In evaluation they are kept
by blocks of batches, as the loader gives them: in a batch of another size the last bits differ, and then a number would
depend on what was stored before. In training they are kept where a picture is the same in each epoch, and for views
that the seed gives (DATALOADER.STORED_VIEWS, `stored_views.py`).

No method does anything for it: a batch carries its features to `ImageEncoder` (`ImageBatch`), and pictures are decoded
only for a method that reads more of them (`PromptedCLIP.reads_pixels`).

A method that trains the encoder's last layers has no such features, but what comes out of the layers in front of them
is kept in their place, in training alone (`PromptedCLIP.frozen_layers`).
"""

import functools
import itertools
from typing import Iterator, List, Optional, Tuple

import PIL
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from torch.utils.data.dataloader import default_collate  # where PyTorch 1.9 has it, too

from ..backbone.clip_weights import tensors_digest
from ..files.known_content import store_folder
from .blocks import Block, WithoutPixels
from .feature_store import OUTPUTS, FeatureStore, digest
from .stored_pictures import StoredPictures, stored_pictures

try:
    from dassl.utils import progress
except ImportError:  # the original Dassl
    from tqdm import tqdm as progress

VERSION = 2  # of the encoder's numbers: raised when the last bits of a feature change
BLOCK = 1024  # pictures, about: 2 MiB of ViT-B/16's features, and the most that a killed run encodes again
LARGEST = 64 * 2**20  # bytes of a block, about: 220 pictures of what comes out of one of ViT-B/16's layers in fp16


class FrozenFeatures:
    """Where a run gets its pictures' frozen features from.

    Args:
        model: its `PromptedCLIP`, on `device`.
        precision: its `Precision`.
    """

    def __init__(self, cfg, model, precision, device):
        self.model, self.precision, self.device = model, precision, device
        self.store = FeatureStore(store_folder(cfg), int(cfg.STORE.MAX_GB * 2**30))

    @functools.cached_property
    def size(self) -> int:
        """Bytes of what is kept of a picture."""
        layers, encoder = self.model.frozen_layers, self.model.image_encoder
        if layers is None:
            return 4 * self.model.text_encoder.text_projection.shape[1]
        half = self.precision.encoder_dtype == torch.float16
        return encoder.visual.positional_embedding.numel() * (2 if half else 4)

    def reading(self, loader: DataLoader, pixels: bool) -> "Reading":
        """The loader's batches with their features. Without `pixels`, images of stored batches are left empty."""
        kind = self._kind(loader.dataset) if isinstance(loader.sampler, SequentialSampler) else None
        if kind is None:
            return Reading(loader)
        most, pictures = min(BLOCK, LARGEST // self.size), self.pictures(loader.dataset)
        return StoredReading(loader, kind, self.store, self.encode, pixels, most, pictures)

    def pictures(self, images: Dataset) -> Optional[StoredPictures]:
        """The same data set from stored pixels, see `stored_pictures`."""
        return stored_pictures(images, self.store, self.device)

    def features_of(self, loader: DataLoader) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
        """(frozen features (B, dim), label (B,)) of each batch of the loader, on the device."""
        for batch in progress(self.reading(loader, pixels=False), desc="Encoding", unit="batch"):
            features = batch.get("features", self.encode)(batch["img"])
            yield features.to(self.device), batch["label"].to(self.device)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """As `PromptedCLIP.frozen_image`, without gradients."""
        with torch.no_grad(), self.precision.autocast():
            return self.model.frozen_image(image.to(self.device))

    def _kind(self, images: Dataset) -> Optional[str]:
        """A digest of all that features depend on but the picture; None if it is not known, or nothing is kept."""
        transform = repr(getattr(images, "transform", None))
        if self.store.max_bytes == 0 or not hasattr(images, "data_source") or " at 0x" in transform:
            return None
        what = {**self._encoder, "transform": transform, "drawn": getattr(images, "drawn", None)}
        if self.model.frozen_layers is None:
            return digest(what)
        return f"{OUTPUTS}{digest({**what, 'layers': self.model.frozen_layers})}"

    @functools.cached_property
    def _encoder(self):
        """The encoder's weights, and what its last bits depend on beside them: JSON values."""
        encoder = self.model.image_encoder
        cpu = getattr(torch.backends, "cpu", None)  # PyTorch 2.1
        device = [cpu and cpu.get_cpu_capability(), torch.get_num_threads()]  # threads divide a batch
        if self.device.type == "cuda":
            device = [torch.cuda.get_device_name(self.device), torch.get_float32_matmul_precision()]
        blocks = getattr(getattr(encoder.visual, "transformer", None), "resblocks", [])  # a ResNet has none
        return {
            "version": VERSION,
            "weights": tensors_digest(encoder.state_dict()),
            # which weights do not say
            "blocks": [f"{block.mlp.gelu} {block.attn.num_heads} heads" for block in blocks],
            "precision": self.precision.prec,
            "device": device,
            "packages": [torch.__version__, torchvision.__version__, PIL.__version__],
        }


class Reading:
    """A pass over a loader, batch by batch."""

    found = 0  # pictures whose features the store had
    undecoded = 0  # pictures whose pixels it had, where they were needed

    def __init__(self, loader):
        self.loader = loader
        self.paths: List[str] = []  # of the pictures that have passed

    def __len__(self):
        return len(self.loader)

    def __iter__(self) -> Iterator[dict]:
        self.paths = []
        for batch in self._batches():
            self.paths += batch["impath"]
            yield batch

    def _batches(self):
        return iter(self.loader)


class StoredReading(Reading):
    """A pass over a loader that always gives the same batches; each with its "features", as an `ImageBatch` has them.

    They come from the store, or are encoded and kept.

    pixels: whether the images are needed beside their features; if not, those of stored batches are not loaded, and are
        tensors (B, 0, 0, 0).
    most: pictures in a block, about.
    pictures: the loader's, if they may come from the store; they are kept there if `pixels`, as features do otherwise.

    The global random generators move on as in a pass over the loader, whatever is stored.
    """

    def __init__(self, loader, kind, store, encode, pixels, most, pictures=None):
        super().__init__(loader)
        self.store, self.encode, self.pixels, self.pictures = store, encode, pixels, pictures
        self.bare = WithoutPixels(loader.dataset)
        batches = list(loader.batch_sampler)
        n = max(1, most // len(batches[0]))
        images, drawn = loader.dataset.data_source, hasattr(loader.dataset, "drawn")
        self.blocks = [Block(batches[i : i + n], images, kind, store, drawn) for i in range(0, len(batches), n)]

    def _batches(self):
        self.found = 0
        loads = [self.pixels or block.stored is None for block in self.blocks]
        batches = [b for block, load in zip(self.blocks, loads) if load for b in block.batches]
        images, pictures = self.loader.dataset, self.pictures
        processes = bool(batches) and not (pictures and pictures.has(itertools.chain(*batches)))
        loaded = iter(loader_like(self.loader, pictures or images, processes, batch_sampler=batches))
        for block, load in zip(self.blocks, loads):
            for number, indices in enumerate(block.batches):
                batch = next(loaded) if load else default_collate([self.bare[i] for i in indices])
                if load and pictures:
                    batch["img"] = pictures.images(batch, keep=self.pixels)
                    self.undecoded = pictures.found
                yield {**batch, "features": functools.partial(self._features, block, number)}
            block.keep()
        next(loaded, None)  # lets its processes end

    def _features(self, block, number, image):
        features = block.get(number)
        if features is not None:
            self.found += len(features)
            return features.to(image.device)
        return block.add(number, self.encode(image))


def loader_like(loader: DataLoader, images: Dataset, processes: bool, **batches) -> DataLoader:
    """A loader of other images or batches, with the processes of `loader` or without any."""
    return DataLoader(
        images,
        num_workers=loader.num_workers if processes else 0,
        pin_memory=loader.pin_memory,
        generator=loader.generator,
        **batches,
    )
