"""Orders in which a loader goes through a list of `Datum`.

A new order is drawn at the start of each epoch from the global random generators (PyTorch's for
RandomSampler, Python's and NumPy's for the others): whoever restores their states gets the same epoch again.
"""

import random
from collections import defaultdict

import numpy as np
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from dassl.utils import UserError, check_availability


class RandomDomainSampler(Sampler):
    """Each batch holds `n_domain` domains drawn at random (below 1: all), and equally many random images of each.

    An epoch ends when a domain has too few images left.
    """

    def __init__(self, data_source, batch_size, n_domain=0):
        self.indices = defaultdict(list)
        for index, item in enumerate(data_source):
            self.indices[item.domain].append(index)
        self.n_domain = n_domain if n_domain and n_domain > 0 else len(self.indices)
        if self.n_domain > len(self.indices) or batch_size % self.n_domain != 0:
            raise UserError(
                f"a batch of {batch_size} cannot hold equally many images of {self.n_domain} domains out of "
                f"{len(self.indices)}: change BATCH_SIZE or N_DOMAIN in DATALOADER.TRAIN_X"
            )
        self.n_img_per_domain = batch_size // self.n_domain
        smallest = min(len(indices) for indices in self.indices.values())
        if smallest < self.n_img_per_domain:
            raise UserError(
                f"a domain has {smallest} images, but a batch takes {self.n_img_per_domain} of each: "
                "lower DATALOADER.TRAIN_X.BATCH_SIZE"
            )
        self.length = sum(1 for _ in self)

    def choose_domains(self):
        """Return the domains of the next batch."""
        return random.sample(list(self.indices), self.n_domain)

    def __iter__(self):
        left = {domain: list(indices) for domain, indices in self.indices.items()}
        order = []
        while min(len(indices) for indices in left.values()) >= self.n_img_per_domain:
            for domain in self.choose_domains():
                chosen = random.sample(left[domain], self.n_img_per_domain)
                order.extend(chosen)
                taken = set(chosen)
                left[domain] = [index for index in left[domain] if index not in taken]
        return iter(order)

    def __len__(self):
        return self.length


class SeqDomainSampler(RandomDomainSampler):
    """Each batch holds equally many random images of every domain, domains in sorted order."""

    def choose_domains(self):
        return sorted(self.indices)


class RandomClassSampler(Sampler):
    """Each batch holds `n_ins` images of each of batch_size // n_ins classes drawn at random.

    A class with fewer than `n_ins` images is drawn from with replacement.
    """

    def __init__(self, data_source, batch_size, n_ins):
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        self.indices = defaultdict(list)
        for index, item in enumerate(data_source):
            self.indices[item.label].append(index)
        if not 1 <= self.ncls_per_batch <= len(self.indices):
            raise UserError(
                f"a batch of {batch_size} cannot hold {n_ins} images of each of {self.ncls_per_batch} "
                f"classes out of {len(self.indices)}: change BATCH_SIZE or N_INS in DATALOADER.TRAIN_X"
            )
        self.length = sum(1 for _ in self)

    def __iter__(self):
        chunks = {label: self._shuffled_chunks(indices) for label, indices in self.indices.items()}
        labels = list(self.indices)
        order = []
        while len(labels) >= self.ncls_per_batch:
            for label in random.sample(labels, self.ncls_per_batch):
                order.extend(chunks[label].pop(0))
                if not chunks[label]:
                    labels.remove(label)
        return iter(order)

    def _shuffled_chunks(self, indices):
        """Return a class's images in random order, in full groups of `n_ins`."""
        few = len(indices) < self.n_ins
        indices = np.random.choice(indices, size=self.n_ins, replace=True).tolist() if few else list(indices)
        random.shuffle(indices)
        starts = range(0, len(indices) - self.n_ins + 1, self.n_ins)
        return [indices[start : start + self.n_ins] for start in starts]

    def __len__(self):
        return self.length


_BUILD = {
    "RandomSampler": lambda data, batch_size, n_domain, n_ins: RandomSampler(data),
    "SequentialSampler": lambda data, batch_size, n_domain, n_ins: SequentialSampler(data),
    "RandomDomainSampler": lambda data, batch_size, n_domain, n_ins: RandomDomainSampler(data, batch_size, n_domain),
    "SeqDomainSampler": lambda data, batch_size, n_domain, n_ins: SeqDomainSampler(data, batch_size),
    "RandomClassSampler": lambda data, batch_size, n_domain, n_ins: RandomClassSampler(data, batch_size, n_ins),
}


def build_sampler(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16):
    """Build the sampler called `sampler_type`. Raises ValueError, with the known names, if there is none."""
    check_availability(sampler_type, _BUILD, kind="sampler")
    return _BUILD[sampler_type](data_source, batch_size, n_domain, n_ins)
