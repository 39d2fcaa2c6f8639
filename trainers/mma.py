"""MMA: multi-modal adapter (CVPR 2024, pages 23826-23837).

From layer LAYER on, each layer of both encoders has an adapter beside it, whose middle is the same for both: what the
two learn from each other's gradients goes through it. With z the layer's input behind ln_1,

    layer(x)  ->  layer(x) + SCALE W_up relu(W_shared relu(W_down z)),    each W with a bias.

The text is the hand-crafted prompt. Trained by cross-entropy of exp(logit_scale) * cos(image, text).

As in the authors' code the adapters' gradients are those of SCALE 1: SCALE holds back what the encoders become, not how
fast the adapters learn.
"""

from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import WIDTH, Key, above, add_defaults, method_defaults, whole
from .prompting.adapters import SharedAdapters
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import PromptSequences
from .prompting.templates import template_for

DEFAULTS = method_defaults()
DEFAULTS.LAYER = Key(4, whole(0))  # first layer with adapters, from 0 (authors' code: 5, from 1)
DEFAULTS.DIM = Key(32, WIDTH)  # width of the adapters' middle (authors' code)
DEFAULTS.SCALE = Key(0.001, above(0))  # share of the adapters in a layer's output (authors' code)
add_defaults("MMA", DEFAULTS)


class PromptLearner(SharedAdapters):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        options, encoders = cfg.TRAINER.MMA, {"text": text_encoder, "image": image_encoder}
        super().__init__("TRAINER.MMA.LAYER", options.LAYER, options.DIM, encoders)
        self.scale = options.SCALE
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)  # (authors' code)
        self.sequences = PromptSequences(clip_model, classnames, ending=template_for(cfg, {}))

    def forward(self):
        return self.sequences()

    def beside(self, encoder):
        return super().beside(encoder, self.scale)

    def apply_linear(self, layer, x):
        weight, bias = (scale_gradient(p, 1 / self.scale).to(x.dtype) for p in (layer.weight, layer.bias))
        return F.linear(x, weight, bias)


def scale_gradient(x, factor):
    """x, whose gradient will be `factor` times what it would have been."""
    return x.detach() + factor * (x - x.detach())


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("MMA", cfg)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)

    def encode_image(self, image):
        return normalise(self.image_encoder(image, beside=self.prompt_learner.beside("image")))

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(self.text_encoder(learner(), beside=learner.beside("text")))


@TRAINER_REGISTRY.register()
class MMA(PromptTrainer):
    """MMA: Multi-Modal Adapter for Vision-Language Models."""

    config_node = "MMA"
    custom_clip = CustomCLIP
