"""Consecutive pictures of a data set, and what is kept of them together in the feature store."""

import functools
import os
from typing import Any, List, Optional, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..files.known_content import content_of, identities
from .feature_store import FeatureStore, digest


class Block:
    """Consecutive batches of pictures of which something is stored together: features (n, dim), or pixels.

    Args:
        batches: lists of positions in `items`.
        items: Dassl's `Datum`s.
        kind: a digest of all that decides on what is stored but the pictures.
        drawn: whether a picture is seen as one of its views, which depends on its path, too.
    """

    def __init__(self, batches: Sequence[List[int]], items: Sequence[Any], kind: str, store: FeatureStore, drawn: bool):
        self.batches, self.kind, self.store = batches, kind, store
        self.paths = [[items[i].impath for i in indices] for indices in batches]
        self.places = [os.path.abspath(path) for batch in self.paths for path in batch] if drawn else None
        self.added = []

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "stored"}  # each process maps it for itself

    @functools.cached_property
    def name(self) -> Optional[str]:
        return self._known[0]

    @functools.cached_property
    def _known(self):
        return self._look()

    def _look(self):
        """The block's name, and what the files are that it is of."""
        paths = [path for batch in self.paths for path in batch]
        files = identities(paths)
        content = content_of(paths, self.store.folder, files)
        if content is None:  # one is missing, which is the loader's to tell
            return None, files
        what = [content, list(map(len, self.paths)), self.places]
        return f"{self.kind}/{digest(what)}", files

    @functools.cached_property
    def is_there(self) -> bool:
        """Whether the store has it, undamaged or not."""
        return self.name is not None and self.store.has(self.name)

    @functools.cached_property
    def stored(self) -> Optional[np.ndarray]:
        """(n, ...) of all batches in turn, or None if they are not stored."""
        return None if self.name is None else self.store.get(self.name)

    def get(self, number: int) -> Optional[torch.Tensor]:
        if self.stored is None:
            return None
        start = sum(map(len, self.batches[:number]))
        return torch.from_numpy(np.array(self.stored[start : start + len(self.batches[number])]))

    def add(self, number: int, rows: torch.Tensor) -> torch.Tensor:
        self.added += [rows] * (number == len(self.added))
        return rows

    def keep(self) -> None:
        """Store what was added, if it is of all batches and of pictures that have not changed in the meantime."""
        if len(self.added) == len(self.batches) and self.name is not None and self._known == self._look():
            self.store.put(self.name, torch.cat(self.added).cpu().numpy())
        self.added = []


class WithoutPixels(Dataset):
    """A data set of Dassl's whose pictures are not read: "img" is a tensor (0, 0, 0)."""

    def __init__(self, images):
        self.items = images.data_source

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        labels = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": index}
        return {"img": torch.empty(0, 0, 0), **labels}
