"""KgCoOp: knowledge-guided context optimization (arXiv 2303.13283).

CoOp forgets what CLIP knows about other classes as its text features leave those of the hand-crafted prompts. KgCoOp
learns the same context, shared by all classes, and keeps the text features near (section 3.2):

    loss = ce + W (1 - mean_c cos(g_c, g_hand_c)).

The paper writes the second term as a mean squared distance. On features of unit length that is twice the term here,
which is the one of the authors' code, and W = 8 belongs to the code.
"""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT, Key, add_defaults, method_defaults
from .prompting.knowledge import KnowledgeGuidedCLIP
from .prompting.prompt_text import ContextLearner
from .prompting.templates import KGCOOP_TEMPLATES

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(4, TOKENS)  # context tokens, when CTX_INIT is empty (authors' scripts)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose embedding starts the context; they set its length (authors' code)
DEFAULTS.W = Key(8.0, WEIGHT)  # weight of the knowledge-guided loss (authors' scripts)
add_defaults("KGCOOP", DEFAULTS)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.KGCOOP
        super().__init__("TRAINER.KGCOOP.N_CTX", clip_model, classnames, options.N_CTX, options.CTX_INIT)


class CustomCLIP(KnowledgeGuidedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model, cfg.TRAINER.KGCOOP.W, KGCOOP_TEMPLATES)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)


@TRAINER_REGISTRY.register()
class KgCoOp(PromptTrainer):
    """Visual-Language Prompt Tuning with Knowledge-guided Context Optimization."""

    config_node = "KGCOOP"
    custom_clip = CustomCLIP
