"""Which batches an epoch has: of counted steps, with the last, smaller batch of a pass, of one class each."""

import itertools
import random
from typing import Any, Dict, Iterator, List, Sequence

from torch.utils.data import DataLoader

from ..errors import UserError


def with_last_batch(loader: DataLoader, smallest: int) -> DataLoader:
    """Dassl's training loader, which leaves out the last batch of a pass if it is not full, with that batch.

    Raises UserError if it has fewer than `smallest` pictures.
    """
    if loader.batch_size is None:  # its batches are drawn as a whole
        return loader
    rest = len(loader.sampler) % loader.batch_size
    if 0 < rest < smallest:
        raise UserError(
            f"A pass over {len(loader.sampler)} pictures ends with a batch of {rest}, but this method needs "
            f"{smallest}: set DATALOADER.TRAIN_X.DROP_LAST to True, or another BATCH_SIZE."
        )
    return DataLoader(
        loader.dataset,
        loader.batch_size,
        sampler=loader.sampler,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
    )


def steps_of_shots(cfg: Any, dataset: Any, iterations: int) -> int:
    """`iterations` steps for each shot; of all images (NUM_SHOTS below 1) shots are images for each class."""
    shots = cfg.DATASET.NUM_SHOTS
    return round(iterations * (shots if shots > 0 else len(dataset.train_x) / len(dataset.classnames)))


def ends_of_epochs(total: int, epochs: int, per_pass: int, optim_cfg: Any) -> List[int]:
    """How many of `total` steps are done after 0, 1, ... `epochs` epochs.

    Where epochs are nothing to the schedule (OPTIM.LR_STEP iteration) they end with a pass over the images.
    Raises UserError if an epoch would be without a step.
    """
    by_pass = optim_cfg.LR_STEP == "iteration"
    most = -(-total // per_pass) if by_pass else total
    if epochs > most:
        n, all_epochs = -(-total // per_pass), optim_cfg.MAX_EPOCH
        which, remedy = f"OPTIM.MAX_EPOCH {epochs} epochs", f"set it to {most} or less"
        if epochs < all_epochs:  # those of a stage
            which, remedy = f"{epochs} of the {all_epochs} epochs of OPTIM.MAX_EPOCH", "lower it"
        raise UserError(f"{total} steps, {n} passes over the images, do not make {which}: {remedy}.")
    return whole_passes(total, epochs, per_pass) if by_pass else even_parts(total, epochs)


def even_parts(total: int, epochs: int) -> List[int]:
    """How many of `total` steps are done after 0, 1, ... `epochs` epochs, which are as long as each other."""
    return [total * epoch // epochs for epoch in range(epochs + 1)]


def whole_passes(total: int, epochs: int, per_pass: int) -> List[int]:
    """As `even_parts`, but an epoch ends with a pass of `per_pass` steps; only the last may be cut off."""
    passes = even_parts(-(-total // per_pass), epochs)
    return [min(total, done * per_pass) for done in passes]


class Steps:
    """The batches of a loader, pass after pass: in epoch e `ends[e]` to `ends[e + 1]`, where a new pass begins."""

    def __init__(self, loader, ends: Sequence[int]):
        self.loader, self.ends = loader, ends
        self.epoch = 0  # set by the trainer

    @property
    def dataset(self):
        return self.loader.dataset

    def __len__(self) -> int:
        return self.ends[self.epoch + 1] - self.ends[self.epoch]

    def __iter__(self) -> Iterator[dict]:
        return itertools.islice(itertools.chain.from_iterable(itertools.repeat(self.loader)), len(self))


class OfOneClass:
    """Batches of which each has pictures of one class, drawn anew in each pass: positions of `labels`.

    A class is drawn, all alike, and `batch_size` of its pictures that are left; it is out when it has fewer. A class
    that has fewer from the start gives all that it has, once.
    """

    def __init__(self, labels: Sequence[int], batch_size: int):
        self.labels, self.batch_size = labels, batch_size

    def _classes(self) -> Dict[int, List[int]]:
        found: Dict[int, List[int]] = {}
        for i, label in enumerate(self.labels):
            found.setdefault(label, []).append(i)
        return found

    def __len__(self) -> int:
        return sum(max(1, len(those) // self.batch_size) for those in self._classes().values())

    def __iter__(self) -> Iterator[List[int]]:
        left, batches = self._classes(), []
        while left:  # by Python's generator, as the authors of Skip Tuning draw theirs
            label = random.choice(list(left))
            batch = random.sample(left[label], min(self.batch_size, len(left[label])))
            batches.append(batch)
            left[label] = [i for i in left[label] if i not in batch]
            if len(left[label]) < self.batch_size:
                del left[label]
        return iter(batches)
