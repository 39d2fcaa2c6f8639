"""Training on views of the pictures that the seed gives, so that their frozen features can be kept.

Dassl's loaders draw augmentations from the global random generators, so that a view depends on method, batch size and
loading processes and is never seen again. With DATALOADER.STORED_VIEWS K, a picture's view in epoch e (from 0) is drawn
from SEED, e modulo K and its path in the data set alone: the same for every method and setting. With K = MAX_EPOCH all
views are independent draws, as without.
"""

import contextlib
import hashlib
import io
import os
import random
from typing import Dict, Iterator, Optional

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dassl.data.data_manager import DatasetWrapper, build_data_loader
from dassl.data.transforms import build_transform

from ..random_state import random_state, set_random_state
from ..run.experiment import dataset_folder, path_in
from .blocks import WithoutPixels
from .frozen_features import FrozenFeatures, loader_like, progress
from .stored_pictures import StoredPictures

# Pictures that are encoded together, whatever the batch size of the training: the last bits of features depend on it
BATCH = 32
_NOT_RANDOM = {"normalize", "instance_norm", "center_crop"}  # names in INPUT.TRANSFORMS


class View(Dataset):
    """The training images, each as its view of number `view`; `images` is Dassl's `DatasetWrapper`."""

    def __init__(self, images, seed: int, view: int, dataset_dir: str):
        self.images, self.data_source, self.transform = images, images.data_source, images.transform
        self.drawn = {"seed": seed, "view": view, "dataset_dir": os.path.abspath(dataset_dir)}
        self.dataset_dir = dataset_dir

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, index):
        path = path_in(self.dataset_dir, self.data_source[index].impath)
        with drawn_from(self.drawn["seed"], self.drawn["view"], path):
            return self.images[index]


@contextlib.contextmanager
def drawn_from(*what) -> Iterator[None]:
    """Inside, random numbers are those of `what`; afterwards the global generators are as they were."""
    python, numpy, state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    number = hashlib.sha256("\0".join(map(str, what)).encode("utf-8", "surrogateescape")).digest()
    random.seed(number)
    np.random.seed(np.frombuffer(number, np.uint32))
    torch.default_generator.manual_seed(int.from_bytes(number[:8], "little"))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(state)


class ViewLoader:
    """Takes the place of a training loader: as many batches, in the order that it would draw.

    Args:
        n_views: STORED_VIEWS; 0: the pictures are the same in each epoch, as `loader` gives them.
    """

    def __init__(self, loader: DataLoader, frozen: FrozenFeatures, n_views: int, seed: int, dataset_dir: str):
        self.loader, self.frozen, self.n_views, self.seed, self.dataset_dir = loader, frozen, n_views, seed, dataset_dir
        self.epoch = 0  # set by the trainer
        # Number of the view at hand -> features (n, dim) on the device, or outputs (n, length, width) in host memory
        self._encoded: Dict[int, torch.Tensor] = {}
        room, size = frozen.store.max_bytes, n_views * len(loader.dataset) * frozen.size
        if 0 < room < size:  # the block that is needed next is always the one that was used longest ago
            print(
                f"Note: {n_views} views of {len(loader.dataset)} pictures are {size / 2**30:.2f} GiB, more than "
                f"STORE.MAX_GB keeps, so that they are encoded again in each epoch: raise it, or lower "
                f"DATALOADER.STORED_VIEWS"
            )

    def __len__(self):
        return len(self.loader)

    def __iter__(self) -> Iterator[dict]:
        """Batches, each with its "features", as an `ImageBatch` has them."""
        pixels = self.frozen.model.reads_pixels(training=True)
        images = self.dataset if pixels else WithoutPixels(self.loader.dataset)
        pictures = self._pictures() if pixels else None
        decodes = pixels and not (pictures and pictures.has(range(len(pictures))))
        for batch in loader_like(self.loader, pictures or images, decodes, batch_sampler=self.loader.batch_sampler):
            if pictures:
                batch["img"] = pictures.images(batch, keep=False)
            yield {**batch, "features": lambda _, index=batch["index"]: self.features(index)}

    @property
    def view(self) -> int:
        return self.epoch % self.n_views if self.n_views else 0

    @property
    def dataset(self) -> Dataset:
        """The images of the epoch at hand."""
        images = self.loader.dataset
        return View(images, self.seed, self.view, self.dataset_dir) if self.n_views else images

    def features(self, index: torch.Tensor) -> torch.Tensor:
        """What is kept of the pictures at the positions `index` (B,), on the device: `PromptedCLIP.frozen_image`."""
        if self.view not in self._encoded:
            self._encoded = {}  # first: outputs of two views may be too much
            self._encoded = {self.view: self._encode()}
        encoded = self._encoded[self.view]
        return encoded[index.to(encoded.device)].to(self.frozen.device)

    def _encode(self):
        """All pictures in the order of the data set, so that no feature depends on how training draws its batches."""
        home = self.frozen.device if self.frozen.model.frozen_layers is None else torch.device("cpu")
        encoded, n = None, 0
        with self._in_order() as images:
            for x, _ in self.frozen.features_of(images):
                if encoded is None:
                    encoded = x.new_empty((len(images.dataset), *x.shape[1:]), device=home)
                encoded[n : n + len(x)] = x
                n += len(x)
        return encoded

    def _pictures(self) -> Optional[StoredPictures]:
        """The epoch's images by stored pixels, as far as there is room for them; None where they are not kept."""
        pictures = self.frozen.pictures(self.dataset)
        if pictures and not pictures.has(range(len(pictures))):
            with self._in_order() as images:
                for _ in progress(self.frozen.reading(images, pixels=True), desc="Decoding", unit="batch"):
                    if not self.frozen.store.takes_large:
                        break
            pictures = self.frozen.pictures(self.dataset)
        return pictures

    @contextlib.contextmanager
    def _in_order(self):
        """The epoch's images in batches; reading them, which one run does and another not, shifts no random number."""
        state = random_state()
        yield loader_like(self.loader, self.dataset, processes=True, batch_size=BATCH)
        set_random_state(state)


def view_loader(cfg, loader: DataLoader, frozen: FrozenFeatures, dataset_dir: str) -> Optional[ViewLoader]:
    """What takes the place of a training loader, or None if each epoch draws views that nobody sees again."""
    fixed = _NOT_RANDOM.issuperset(cfg.INPUT.TRANSFORMS)
    if not hasattr(loader.dataset, "data_source") or not (fixed or cfg.DATALOADER.STORED_VIEWS):
        return None
    return ViewLoader(loader, frozen, 0 if fixed else cfg.DATALOADER.STORED_VIEWS, cfg.SEED, dataset_dir)


def in_order(cfg, dataset, view: Optional[int] = None) -> DataLoader:
    """The training images of a `DatasetBase` in order: under the test transform, or each as its view of that number.

    A run without a seed draws the view anew. A view of a number below 0 is none that STORED_VIEWS trains on.
    """

    def wrapper(*args, **kwargs):
        images = DatasetWrapper(*args, **kwargs)
        if view is None:
            return images
        seed = cfg.SEED if cfg.SEED >= 0 else random.getrandbits(32)
        return View(images, seed, view, dataset_folder(dataset))

    with contextlib.redirect_stdout(io.StringIO()):  # it says each time what the run's loaders have said
        transform = build_transform(cfg, is_train=view is not None)
    return build_data_loader(
        cfg,
        data_source=dataset.train_x,
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        tfm=transform,
        is_train=False,
        dataset_wrapper=wrapper,
    )
