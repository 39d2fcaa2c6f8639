"""Tip-Adapter's cache (arXiv 2111.03930): a key for each training image, compared with the image that is asked about.

With the cache's keys K (n_cls, shots, dim) and an image's feature f, each of unit length (equations 2 to 6):

    logits_c = exp(logit_scale) f g_c + alpha sum_s exp(-beta (1 - f K_cs))

The authors' values are the images' labels, one-hot; here a key lies with its class, which is the same sum.
"""

from typing import Iterable, NamedTuple, Optional, Tuple

import torch
from torch import nn

from ..compat import autocast
from ..errors import UserError, up_to
from .model import PromptedCLIP, normalise
from .templates import tip_templates

Batches = Iterable[Tuple[torch.Tensor, torch.Tensor]]  # (features (B, dim), label (B,)) each


class Grid(NamedTuple):
    """Where a search starts, and the largest value of each."""

    alpha: float
    max_beta: float
    max_alpha: float


# The authors' configs, by DATASET.NAME: init_alpha, and search_scale of beta and alpha
GRIDS = {
    "ImageNet": Grid(1.17, 7, 3),
    "OxfordPets": Grid(1.17, 7, 3),
    "Caltech101": Grid(3, 12, 5),
    "DescribableTextures": Grid(2, 13, 13),
    "EuroSAT": Grid(2, 12, 10),
    "FGVCAircraft": Grid(5, 30, 30),
    "Food101": Grid(1.17, 10, 10),
    "OxfordFlowers": Grid(10, 50, 50),
    "StanfordCars": Grid(3, 20, 10),
    "SUN397": Grid(1.17, 12, 10),
    "UCF101": Grid(3, 7, 3),
}
MOST_SHOTS = 4096  # of each class: more than a cache is for, less than memory holds
LEAST = 0.1  # of alpha and beta in a search (authors' code)


def grid_for(cfg, options) -> Grid:
    """The config's INIT_ALPHA, MAX_BETA and MAX_ALPHA; where one is 0, the authors' for the data set, or ImageNet's."""
    authors = GRIDS.get(cfg.DATASET.NAME, GRIDS["ImageNet"])
    given = options.INIT_ALPHA, options.MAX_BETA, options.MAX_ALPHA
    return Grid(*(ours or theirs for ours, theirs in zip(given, authors)))


class Cache(nn.Module):
    """What a checkpoint holds: the keys, which of them there are, alpha and beta.

    Args:
        learns: whether keys get gradients.
    """

    class_specific = "a cache of the training images"

    def __init__(self, n_cls: int, shots: int, dim: int, alpha: float, beta: float, learns: bool):
        super().__init__()
        self.start = alpha, beta  # what a training uses, whatever has been chosen
        self.keys = nn.Parameter(torch.zeros(n_cls, shots, dim), requires_grad=learns)
        self.register_buffer("present", torch.ones(n_cls, shots))  # 0: a class has fewer images than shots
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.register_buffer("beta", torch.tensor(float(beta)))

    def forward(self, image_features: torch.Tensor) -> torch.Tensor:
        """(B, dim), unit length -> what is added to CLIP's logits, (B, n_cls), float32."""
        alpha, beta = self.start if self.training else (self.alpha, self.beta)
        return alpha * self.votes(self.affinity(image_features), beta)

    def affinity(self, image_features: torch.Tensor) -> torch.Tensor:
        """(B, dim) -> (B, n_cls, shots)"""
        return (image_features @ self.keys.flatten(0, 1).t()).unflatten(1, self.present.shape)

    def votes(self, affinity: torch.Tensor, beta) -> torch.Tensor:
        """(B, n_cls, shots) -> (B, n_cls)"""
        return ((beta * affinity - beta).exp() * self.present).sum(dim=-1)

    @torch.no_grad()
    def fill(self, passes: Iterable[Batches]) -> None:
        """Build the keys: of each image the mean over `passes` of its features, then unit length.

        The mean is of features as the encoder gives them (authors' code). All passes have the images in one order.
        Raises UserError if a class has more images than the cache has places.
        """
        total = 0
        for batches in passes:
            features, labels = zip(*batches)
            total, label = total + torch.cat(features), torch.cat(labels)
        n_cls, shots = self.present.shape
        most = torch.bincount(label, minlength=n_cls).max().item()
        if most > shots:
            raise UserError(
                f"A class has {most} training images, but DATASET.NUM_SHOTS is {shots}: set it to {most}, so that "
                f"the cache has a place for each."
            )
        self.keys.zero_()
        self.present.zero_()
        for c in range(n_cls):
            own = normalise(total[label == c])
            self.keys[c, : len(own)] = own
            self.present[c, : len(own)] = 1


class CachedCLIP(PromptedCLIP):
    """Zero-shot CLIP and a cache.

    Args:
        options: the method's config node.
        learns: whether the keys are trained.
    """

    def __init__(self, cfg, classnames, clip_model, options, learns):
        super().__init__(cfg, classnames, clip_model)
        shots = cfg.DATASET.NUM_SHOTS
        if not 1 <= shots <= MOST_SHOTS:
            raise UserError(
                f"{cfg.TRAINER.NAME} keeps a key for each training image: set DATASET.NUM_SHOTS to {up_to(MOST_SHOTS)}."
            )
        self.options, self.grid = options, grid_for(cfg, options)
        self.add_hand_features(clip_model, tip_templates(cfg))
        dim = self.text_encoder.text_projection.shape[1]
        self.prompt_learner = Cache(len(classnames), shots, dim, self.grid.alpha, options.INIT_BETA, learns)

    predicts_by_text = False  # but by the cache as well

    def encode_text(self):
        return self.hand_features

    def logits(self, image_features, text_features):
        with autocast(image_features.device.type, enabled=False):
            return super().logits(image_features, text_features) + self.prompt_learner(image_features)

    @torch.no_grad()
    def search(self, validation: Optional[Tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Choose alpha and beta by the accuracy on validation images, their features (n, dim) and labels (n,).

        The authors' grid and order: STEPS values of each from 0.1, the first of the best. Without images, or with
        SEARCH False, alpha and beta stay where they start.
        """
        cache = self.prompt_learner
        if self.options.SEARCH and validation is not None:
            f, label = normalise(validation[0]), validation[1]
            clip, affinity = super().logits(f, self.hand_features), cache.affinity(f)
            pairs, correct = [], []
            for beta in steps(self.grid.max_beta, self.options.STEPS_BETA):
                votes = cache.votes(affinity, beta)
                for alpha in steps(self.grid.max_alpha, self.options.STEPS_ALPHA):
                    pairs.append((alpha, beta))
                    correct.append((clip + alpha * votes).argmax(dim=1).eq(label).sum())
            correct = torch.stack(correct).tolist()
            alpha, beta = pairs[correct.index(max(correct))]
            cache.alpha.fill_(alpha)
            cache.beta.fill_(beta)
            how = f"chosen on {len(label)} validation images, of which {max(correct)} are right"
        else:
            how = "where they start; no validation images choose them"
        print(f"alpha {cache.alpha:.2f}, beta {cache.beta:.2f}: {how}")


def steps(most: float, n: int):
    """n values from 0.1 on, which would reach `most` at the next (authors' code)."""
    return [i * (most - LEAST) / n + LEAST for i in range(n)]
