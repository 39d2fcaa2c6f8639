"""CLIP-LoRA: low-rank few-shot adaptation (arXiv 2405.18541).

Instead of prompts, the linear maps of attention in both encoders learn: the query, key and value of every layer get a
low-rank update each (LoRA, arXiv 2106.09685), and the text is the hand-crafted prompt,

    W x  ->  W x + (ALPHA / sqrt(RANK)) B A dropout(x),    A (RANK, width), B (width, RANK), B = 0 at the start.

Trained by cross-entropy of exp(logit_scale) * cos(image, text). The same settings serve all data sets and numbers of
shots; the training is as long as ITERATIONS steps for each shot, however many classes there are.
"""

from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .counted import CountedTrainer
from .keys import LAYERS, Key, Range, above, add_defaults, from_below, method_defaults, one_of, several, whole
from .prompting.encoders import chosen_layers
from .prompting.low_rank import LowRankUpdates
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import PromptSequences
from .prompting.templates import template_for

ATTENTION = several(None, one_of("q", "k", "v", "o"), distinct=True)

DEFAULTS = method_defaults()
DEFAULTS.RANK = Key(2, whole(1, 1024))  # of the updates (paper)
DEFAULTS.ALPHA = Key(1.0, above(0))  # an update counts ALPHA / sqrt(RANK) times (authors' code)
DEFAULTS.DROPOUT = Key(0.25, from_below(0, 1))  # share of an update's input that training leaves out (paper)
# Which of attention's linear maps are updated: query, key, value, output (paper: q, k and v)
DEFAULTS.PARTS = Key(
    ["q", "k", "v"],
    Range("one or more of q, k, v and o, each once", lambda parts: ATTENTION.fits(parts) and len(parts) > 0),
)
DEFAULTS.LAYERS = Key([], LAYERS)  # layers with updates, from 0; empty: all of both encoders (paper)
# Steps of the training for each shot, divided among the epochs (paper: 500)
DEFAULTS.ITERATIONS = Key(500, whole(1))
add_defaults("CLIPLORA", DEFAULTS)


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options = cfg.TRAINER.CLIPLORA
        encoders = text_encoder, image_encoder
        deepest = max(encoder.n_layers for encoder in encoders)
        self.text, self.image = (
            LowRankUpdates(
                chosen_layers("TRAINER.CLIPLORA.LAYERS", options.LAYERS, encoder.n_layers, deepest),
                options.PARTS,
                encoder.width,
                rank=options.RANK,
                scale=options.ALPHA / options.RANK**0.5,
                dropout=options.DROPOUT,
            )
            for encoder in encoders
        )
        self.sequences = PromptSequences(clip_model, classnames, ending=template_for(cfg, {}))

    def forward(self):
        return self.sequences()


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("CLIP-LoRA", cfg)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)

    def encode_image(self, image):
        return normalise(self.image_encoder(image, beside=self.prompt_learner.image))

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(self.text_encoder(learner(), learner.text.apart, learner.text))


@TRAINER_REGISTRY.register()
class CLIPLoRA(CountedTrainer):
    """CLIP-LoRA: Low-Rank Few-Shot Adaptation of Vision-Language Models."""

    config_node = "CLIPLORA"
    custom_clip = CustomCLIP
