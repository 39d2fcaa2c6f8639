"""MaPLe: multi-modal prompt learning (arXiv 2210.03117).

Both encoders get learned tokens in their first J = PROMPT_DEPTH layers, and the two are coupled: text prompts
P_0 .. P_(J-1) are learned, and the visual prompts are linear functions F_i(P_i) of them, one F for each layer (section
3.2). Trained by cross-entropy of exp(logit_scale) * cos(image, text).

As in the authors' code P_0 starts as the first N_CTX tokens of CTX_INIT, and the rest of its words stay in the prompt:
[SOS, P_0, "of a", class name, ".", EOS] with 2 tokens from "a photo of a". All other P are random.
"""

import copy

from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, add_defaults, method_defaults
from .prompting.deep_prompts import check_depth, first_prompts, random_prompts, replace_image, replace_text
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import PromptSequences
from .ranges import TOKENS, Key, at_least

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(2, TOKENS)  # prompt tokens in each encoder (authors' code)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose first N_CTX tokens start P_0; empty: random (authors' code)
DEFAULTS.PROMPT_DEPTH = Key(9, at_least(1))  # J, layers with prompts of their own (authors' code; 3 across data sets)
add_defaults("MAPLE", DEFAULTS)


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options = cfg.TRAINER.MAPLE
        n_ctx, depth, width = options.N_CTX, options.PROMPT_DEPTH, text_encoder.width
        # A pair of coupled prompts needs its layer in both encoders
        check_depth("TRAINER.MAPLE.PROMPT_DEPTH", depth, min(text_encoder.n_layers, image_encoder.n_layers))
        ctx, words = first_prompts("TRAINER.MAPLE.N_CTX", clip_model, n_ctx, options.CTX_INIT)
        print(f'Initial context: "{words}", of which the first {n_ctx} tokens are learned; prompts in {depth} layers')
        self.ctx = nn.Parameter(ctx)  # P_0 (n_ctx, width)
        self.deep_ctx = random_prompts(depth - 1, n_ctx, width)  # P_1 .. P_(J-1)
        # F_0 .. F_(J-1); the deep ones start as copies of one (authors' code)
        first, deep = (nn.Linear(width, image_encoder.width) for _ in range(2))
        self.couplings = nn.ModuleList([first, *(copy.deepcopy(deep) for _ in range(depth - 1))])
        self.sequences = PromptSequences(clip_model, classnames, words, n_ctx, key="TRAINER.MAPLE.N_CTX")

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, width)

    def visual(self):
        """F_i(P_i), a list of (n_ctx, width of the image encoder)."""
        return [f(p) for f, p in zip(self.couplings, [self.ctx, *self.deep_ctx])]


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("MaPLe", cfg)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)

    def encode_image(self, image):
        first, *deep = self.prompt_learner.visual()
        return normalise(self.image_encoder(image, first, replace_image(deep)))

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(self.text_encoder(learner(), replace_text(learner.deep_ctx)))


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """MaPLe: Multi-modal Prompt Learning."""

    config_node = "MAPLE"
    custom_clip = CustomCLIP
