"""TCP: textual-based class-aware prompt tuning (arXiv 2311.18231).

A learned context is the same for all classes. TCP tells the text encoder in its middle which class it is at: a meta
network (the paper's Textual Knowledge Embedding) maps the feature of a class's hand-crafted prompt to n_ctx tokens of
its own, and before layer LAYER these take the place of the context's outputs:

    T_c = W_up QuickGELU(W_down g_hand_c + b_down) + b_up
    x_0 = [SOS, ctx, class name, ...],    x_LAYER = [SOS, T_c, the outputs of the other tokens]
    loss = ce + W (1 - mean_c cos(g_c, g_hand_c)).

As in the authors' code the context stands in a template of the data set ("X X X X {}, a type of pet.") and starts at
random, and the numbers that their code fixes, LAYER and W, are keys here. docs/methods.md lists what differs.
"""

from clip.model import QuickGELU

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT, Key, add_defaults, at_least, method_defaults
from .prompting.deep_prompts import check_depth, replace_text
from .prompting.knowledge import KnowledgeGuidedCLIP
from .prompting.meta_net import MetaNet
from .prompting.model import normalise
from .prompting.prompt_text import ContextLearner
from .prompting.templates import TCP_TEMPLATES

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(4, TOKENS)  # context tokens, when CTX_INIT is empty, and class-aware tokens (authors' scripts)
DEFAULTS.CTX_INIT = ""  # words whose embedding starts the context; they set its length; empty: random (authors' config)
# Layer of the text encoder, from 0, whose input gets the class-aware tokens (authors' code)
DEFAULTS.LAYER = Key(8, at_least(1))
DEFAULTS.W = Key(8.0, WEIGHT)  # weight of the knowledge-guided loss (authors' code)
add_defaults("TCP", DEFAULTS)

REDUCTION = 4  # of the meta network: dim -> dim / 4 -> n_ctx * width (authors' code)

# What stands behind the learned context; "{}." for data sets that are not here (authors' code)
ENDINGS = {
    "OxfordPets": "{}, a type of pet.",
    "OxfordFlowers": "{}, a type of flower.",
    "FGVCAircraft": "{}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "StanfordCars": "{}, a type of car",
    "Food101": "{}, a type of food.",
    "UCF101": "person doing {}.",
}


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model, text_encoder):
        options = cfg.TRAINER.TCP
        # At layer 0 the context would never be read
        check_depth("TRAINER.TCP.LAYER", options.LAYER, text_encoder.n_layers - 1)
        ending = ENDINGS.get(cfg.DATASET.NAME, "{}.")
        super().__init__("TRAINER.TCP.N_CTX", clip_model, classnames, options.N_CTX, options.CTX_INIT, ending=ending)
        dim = text_encoder.text_projection.shape[1]
        self.meta_net = MetaNet(dim, dim // REDUCTION, self.ctx.numel(), QuickGELU())

    def class_prompts(self, hand_features):
        """Features of the hand-crafted prompts (n_cls, dim) -> class-aware tokens (n_cls, n_ctx, width)."""
        return self.meta_net(hand_features).unflatten(-1, self.ctx.shape)


class CustomCLIP(KnowledgeGuidedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.TCP
        super().__init__(cfg, classnames, clip_model, options.W, TCP_TEMPLATES)
        self.layer = options.LAYER
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder)
        self.context_note = (
            f"Before layer {self.layer} what has become of the shared tokens gives way to each class's own, made from "
            f"its hand-crafted prompt."
        )

    def context_tokens(self):
        return {**super().context_tokens(), self.layer: self.prompt_learner.class_prompts(self.hand_features)}

    def encode_text(self):
        class_aware = replace_text([self.context_tokens()[self.layer]], first=self.layer)
        return normalise(self.text_encoder(self.prompt_learner(), class_aware))


@TRAINER_REGISTRY.register()
class TCP(PromptTrainer):
    """TCP: Textual-based Class-aware Prompt tuning for Visual-Language Model."""

    config_node = "TCP"
    custom_clip = CustomCLIP
