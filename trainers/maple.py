"""MaPLe: multi-modal prompt learning (arXiv 2210.03117).

Both encoders get learned tokens in their first J = PROMPT_DEPTH layers, and the two are coupled: text prompts
P_0 .. P_(J-1) are learned, and the visual prompts are linear functions F_i(P_i) of them, one F for each layer (section
3.2). Trained by cross-entropy of exp(logit_scale) * cos(image, text).

As in the authors' code P_0 starts as the first N_CTX tokens of CTX_INIT, and the rest of its words stay in the prompt:
[SOS, P_0, "of a", class name, ".", EOS] with 2 tokens from "a photo of a". All other P are random.
"""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, Key, add_defaults, at_least, method_defaults
from .prompting.coupled_prompts import CoupledPrompts
from .prompting.model import PromptedCLIP, normalise

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(2, TOKENS)  # prompt tokens in each encoder (authors' code)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose first N_CTX tokens start P_0; empty: random (authors' code)
DEFAULTS.PROMPT_DEPTH = Key(9, at_least(1))  # J, layers with prompts of their own (authors' code; 3 across data sets)
add_defaults("MAPLE", DEFAULTS)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("MaPLe", cfg)
        self.prompt_learner = CoupledPrompts(
            "TRAINER.MAPLE", cfg.TRAINER.MAPLE, classnames, clip_model, self.text_encoder, self.image_encoder
        )

    def encode_image(self, image):
        return normalise(self.prompt_learner.encode_image(self.image_encoder, image))

    def encode_text(self):
        return normalise(self.prompt_learner.encode_text(self.text_encoder))


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """MaPLe: Multi-modal Prompt Learning."""

    config_node = "MAPLE"
    custom_clip = CustomCLIP
