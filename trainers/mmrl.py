"""MMRL: multi-modal representation learning (arXiv 2503.08497).

Both encoders' layers from LAYER on get tokens from one learned space R (N_REP_TOKENS, REP_DIM), by a linear map of its
own for each layer and encoder: text [SOS, T_i, ...], images [CLS, V_i, patches]. A picture then has two features: f of
CLS by CLIP's own projection, and r, the mean of the tokens V behind the last layer, by a learned one. With g the text
features, f0 and g0 those of the frozen CLIP,

    loss = ALPHA CE(tau f g^T) + (1 - ALPHA) CE(tau r g^T) + w (1 - mean cos(f, f0)) + w (1 - mean cos(g, g0)).

r belongs to what it was trained for: on classes of that data set and half of the classes, predictions are
tau (ALPHA f + (1 - ALPHA) r) g^T, on all others tau f g^T.
"""

import copy

import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT_OR_AUTHORS, Key, add_defaults, between, method_defaults, whole
from .prompting.deep_prompts import insert_image, insert_text
from .prompting.encoders import check_layer
from .prompting.prompt_text import CTX_STD, PromptSequences
from .prompting.representation import RepresentationCLIP
from .prompting.templates import template_for

DEFAULTS = method_defaults()
DEFAULTS.N_REP_TOKENS = Key(5, TOKENS)  # representation tokens in each encoder (paper)
DEFAULTS.LAYER = Key(5, whole(0))  # first layer with such tokens, from 0 (paper: 6, from 1)
DEFAULTS.REP_DIM = Key(0, whole(0, 65536))  # width of their space; 0: the authors' for the data set, 512 or 2048
DEFAULTS.ALPHA = Key(0.7, between(0, 1))  # share of the class token's feature (paper)
# Weight of the losses that keep features near the frozen ones; -1: the authors' for the data set (authors' code)
DEFAULTS.REG_WEIGHT = Key(-1.0, WEIGHT_OR_AUTHORS)
add_defaults("MMRL", DEFAULTS)

REG_WEIGHTS = {  # by data set; 1 for the others (authors' code)
    "ImageNet": 0.5,
    "Caltech101": 0.5,
    "OxfordPets": 0.2,
    "StanfordCars": 7.0,
    "OxfordFlowers": 4.0,
    "Food101": 5.0,
    "FGVCAircraft": 6.0,
    "SUN397": 6.0,
    "DescribableTextures": 6.0,
    "EuroSAT": 0.01,
    "UCF101": 3.0,
}
REP_DIMS = {"EuroSAT": 2048}  # 512 for the others (authors' code)


def linear_maps(n, n_in, n_out):
    """`n` of them, which start as copies of one (authors' code)."""
    start = nn.Linear(n_in, n_out)
    return nn.ModuleList([copy.deepcopy(start) for _ in range(n)])


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options, visual = cfg.TRAINER.MMRL, image_encoder.visual
        self.first = options.LAYER
        check_layer("TRAINER.MMRL.LAYER", self.first, min(text_encoder.n_layers, image_encoder.n_layers))
        dim = options.REP_DIM or REP_DIMS.get(cfg.DATASET.NAME, 512)
        self.rep_tokens = nn.Parameter(CTX_STD * torch.randn(options.N_REP_TOKENS, dim))  # R
        self.to_text, self.to_image = (
            linear_maps(encoder.n_layers - self.first, dim, encoder.width) for encoder in (text_encoder, image_encoder)
        )
        self.proj_rep = nn.Parameter(visual.proj.shape[0] ** -0.5 * torch.randn(visual.proj.shape))
        self.sequences = PromptSequences(clip_model, classnames, ending=template_for(cfg))

    def forward(self):
        return self.sequences()

    def text_tokens(self):
        """Hook for the text encoder."""
        return insert_text([to_text(self.rep_tokens) for to_text in self.to_text], self.first)

    def image_tokens(self):
        """Hook for the image encoder."""
        return insert_image([to_image(self.rep_tokens) for to_image in self.to_image], self.first)

    def projection(self, proj):
        return self.proj_rep


class CustomCLIP(RepresentationCLIP):
    def __init__(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.MMRL
        own = REG_WEIGHTS.get(cfg.DATASET.NAME, 1.0)
        w = own if options.REG_WEIGHT == -1 else options.REG_WEIGHT
        super().__init__(cfg, classnames, clip_model, options.ALPHA, w)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)


@TRAINER_REGISTRY.register()
class MMRL(PromptTrainer):
    """MMRL: Multi-Modal Representation Learning for Vision-Language Models."""

    config_node = "MMRL"
    custom_clip = CustomCLIP
