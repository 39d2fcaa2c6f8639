"""MMRL++: parameter-efficient and interaction-aware representation learning (arXiv 2505.10088).

MMRL (`mmrl.py`) with fewer parameters, and with representation tokens that remember the layers below:

- The linear maps from the space R to an encoder's layers share one weight W, to which each adds a product of rank
  RANK: tokens of layer i = R (W + A_i B_i)^T + b_i.
- Behind the first such layer, what enters is BETA times these tokens and 1 - BETA times what the layer before has made
  of its own.
- The projection of r is CLIP's frozen one plus a product of rank PROJ_RANK.

Features, loss and which feature predicts are MMRL's.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT_OR_AUTHORS, WIDTH, Key, Range, add_defaults, between, is_number, method_defaults, whole
from .prompting.deep_prompts import insert_image, insert_text
from .prompting.encoders import check_layer
from .prompting.prompt_text import CTX_STD, PromptSequences
from .prompting.representation import RepresentationCLIP
from .prompting.templates import template_for

SHARE_OR_AUTHORS = Range("from 0 to 1, or -1", lambda value: is_number(value) and (0 <= value <= 1 or value == -1))

DEFAULTS = method_defaults()
DEFAULTS.N_REP_TOKENS = Key(5, TOKENS)  # representation tokens in each encoder (authors' code)
DEFAULTS.LAYER = Key(5, whole(0))  # first layer with such tokens, from 0 (authors' code: 6, from 1)
DEFAULTS.REP_DIM = Key(512, WIDTH)  # width of their space (authors' code)
DEFAULTS.RANK = Key(4, WIDTH)  # of what a layer's map adds to the shared one (authors' code)
DEFAULTS.PROJ_RANK = Key(64, WIDTH)  # of what is added to CLIP's projection (authors' code)
DEFAULTS.ALPHA = Key(0.7, between(0, 1))  # share of the class token's feature (authors' code)
# Share of a layer's own tokens in those that enter; -1: the authors' for the training's data set (authors' code)
DEFAULTS.BETA = Key(-1.0, SHARE_OR_AUTHORS)
# Weight of the losses that keep features near the frozen ones; -1: the authors' for the data set (authors' code)
DEFAULTS.REG_WEIGHT = Key(-1.0, WEIGHT_OR_AUTHORS)
add_defaults("MMRLPP", DEFAULTS)

AUTHORS = {  # REG_WEIGHT and BETA by data set (authors' code); 1 and 0.9 for the others, as their config files have
    "ImageNet": (0.2, 0.9),
    "Caltech101": (3.0, 0.6),
    "OxfordPets": (0.01, 0.7),
    "StanfordCars": (6.0, 0.7),
    "OxfordFlowers": (7.0, 0.4),
    "Food101": (1.0, 0.1),
    "FGVCAircraft": (2.0, 0.9),
    "SUN397": (3.0, 0.5),
    "DescribableTextures": (7.0, 0.9),
    "EuroSAT": (0.01, 0.2),
    "UCF101": (3.0, 0.9),
}


class LowRank(nn.Module):
    """A B, (n_out, n_in) of a rank, zero at the start."""

    def __init__(self, n_out, n_in, rank):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.empty(n_out, rank)), nn.Parameter(torch.zeros(rank, n_in))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self):
        return self.a @ self.b


class SharedMaps(nn.Module):
    """R (K, n_in) -> a token each for `n_layers` layers, a list of (K, n_out)."""

    def __init__(self, n_layers, n_in, n_out, rank):
        super().__init__()
        start = nn.Linear(n_in, n_out)
        self.weight = start.weight
        self.own = nn.ModuleList([LowRank(n_out, n_in, rank) for _ in range(n_layers)])
        self.biases = nn.ParameterList([nn.Parameter(start.bias.detach().clone()) for _ in range(n_layers)])

    def forward(self, x):
        return [F.linear(x, self.weight + own(), bias) for own, bias in zip(self.own, self.biases)]


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder, beta):
        super().__init__()
        options = cfg.TRAINER.MMRLPP
        self.first = options.LAYER
        check_layer("TRAINER.MMRLPP.LAYER", self.first, min(text_encoder.n_layers, image_encoder.n_layers))
        self.rep_tokens = nn.Parameter(CTX_STD * torch.randn(options.N_REP_TOKENS, options.REP_DIM))  # R
        self.to_text, self.to_image = (
            SharedMaps(encoder.n_layers - self.first, options.REP_DIM, encoder.width, options.RANK)
            for encoder in (text_encoder, image_encoder)
        )
        self.to_proj = LowRank(*image_encoder.visual.proj.shape, options.PROJ_RANK)
        # In the checkpoint, so that a test on whatever data set has that of its training
        self.register_buffer("beta", torch.tensor(float(beta)))
        self.sequences = PromptSequences(clip_model, classnames, ending=template_for(cfg))

    def forward(self):
        return self.sequences()

    def text_tokens(self):
        """Hook for the text encoder."""
        return insert_text(self.to_text(self.rep_tokens), self.first, self.beta)

    def image_tokens(self):
        """Hook for the image encoder."""
        return insert_image(self.to_image(self.rep_tokens), self.first, self.beta)

    def projection(self, proj):
        return proj.float() + self.to_proj()


class CustomCLIP(RepresentationCLIP):
    def __init__(self, cfg, classnames, clip_model):
        options, (w, beta) = cfg.TRAINER.MMRLPP, AUTHORS.get(cfg.DATASET.NAME, (1.0, 0.9))
        w = w if options.REG_WEIGHT == -1 else options.REG_WEIGHT
        beta = beta if options.BETA == -1 else options.BETA
        super().__init__(cfg, classnames, clip_model, options.ALPHA, w)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder, beta)


@TRAINER_REGISTRY.register()
class MMRLpp(PromptTrainer):
    """MMRL++: Parameter-Efficient and Interaction-Aware Representation Learning for Vision-Language Models."""

    config_node = "MMRLPP"
    custom_clip = CustomCLIP
