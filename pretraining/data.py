"""Pictures and captions, and what batches are made of them."""

import multiprocessing
import os

import numpy as np
import torch
from clip.clip import _tokenizer as tokenizer

from dassl.utils import progress
from datasets.shapes.captions import captioned_picture, words
from datasets.shapes.world import COLOURS, SHAPES, SIZE

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's pixel statistics
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


class Data:
    """Scenes (list), their pictures (uint8 [size, SIZE, SIZE, 3]), and which of them to put into a batch."""

    def __init__(self, size, seed):
        self.scenes, large = [], []
        self.pictures = torch.empty(size, SIZE, SIZE, 3, dtype=torch.uint8)
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            jobs = pool.imap(captioned_picture, ((i, seed) for i in range(size)), chunksize=256)
            for scene, is_large, pixels in progress(jobs, "Drawing", "picture", total=size):
                self.pictures[len(self.scenes)] = torch.from_numpy(pixels)
                self.scenes.append(scene)
                large.append(is_large)
        first = [s.items[0] for s in self.scenes]
        self.all = np.arange(size)
        self.colour = {c: np.array([i for i, o in enumerate(first) if o.colour == c], dtype=int) for c in COLOURS}
        self.shape = {s: np.array([i for i, o in enumerate(first) if o.shape == s], dtype=int) for s in SHAPES}
        plain = [len(s.items) == 1 and s.style == "normal" and s.items[0].pattern == "plain" for s in self.scenes]
        self.stages = (np.array(large), np.array(plain), np.ones(size, dtype=bool))

    def batch(self, rng, stage, size):
        """Indices of a batch. After the first stage, half of the batches share one or two colours, so that telling
        shapes apart is needed, some share two shapes, and the rest are drawn from everything."""
        sort = rng.random() if stage else 1.0
        if sort < 0.5:
            pool = np.concatenate([self.colour[c] for c in rng.sample(list(COLOURS), rng.choice((1, 2)))])
        elif sort < 0.6:
            pool = np.concatenate([self.shape[s] for s in rng.sample(list(SHAPES), 2)])
        else:
            pool = self.all
        pool = pool[self.stages[stage][pool]]
        if not len(pool):  # only with very few pictures
            pool = self.all
        return pool[np.random.RandomState(rng.getrandbits(32)).randint(len(pool), size=size)]


class Vocabulary:
    """The tokens of all captions: `rows` are their ids. Training knows a token by its place in `rows`."""

    def __init__(self):
        marks = ("<|startoftext|>", "<|endoftext|>")
        self.start, self.end = (tokenizer.encoder[m] for m in marks)
        self.ids = {w: tokenizer.encode(w) for w in words()}
        self.rows = sorted({i for ids in self.ids.values() for i in ids} | {self.start, self.end})
        self.row_of = {i: n for n, i in enumerate(self.rows)}
        self.cache = {}

    def encode(self, text):
        """A sentence's tokens, with the marks of its start and end."""
        if text not in self.cache:
            ids = [self.start, *tokenizer.encode(text), self.end]
            self.cache[text] = [self.row_of[i] for i in ids]
        return self.cache[text]

    def batch(self, texts):
        """Sentences as tensors: tokens [n, longest] and the position of each end [n]."""
        coded = [self.encode(t) for t in texts]
        longest = max(map(len, coded))
        rows = torch.tensor([c + [0] * (longest - len(c)) for c in coded])
        return rows, torch.tensor([len(c) - 1 for c in coded])


def augment(pictures, generator):
    """Normalised float pictures [B, 3, SIZE, SIZE], moved by up to 4 pixels and changed in brightness and contrast."""
    n = len(pictures)
    grid = torch.arange(SIZE)
    move = torch.randint(-4, 5, (2, n, 1), generator=generator)
    rows, columns = ((grid + m).clamp(0, SIZE - 1) for m in move)
    moved = pictures[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    light = 1 + 0.3 * (torch.rand(2, n, 1, 1, 1, generator=generator) - 0.5)
    return normalise(((moved / 255.0 - 0.5) * light[0] + 0.5 * light[1]).clamp(0, 1))


def normalise(pictures):
    """[B, H, W, 3] in 0..1 to CLIP's normalised [B, 3, H, W]."""
    return ((pictures - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
