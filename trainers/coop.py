"""CoOp: learned context vectors in front of the class names (arXiv 2109.01134).

Prompt of a class (section 3.2): [V]_1 ... [V]_n_ctx [CLASS], the V shared by all classes (unified context) or of its
own for each class (class-specific context, CSC); the class name may also stand in the middle or in front.
Trained by cross-entropy of exp(logit_scale) * cos(image, text).
"""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, Key, add_defaults, method_defaults, one_of
from .prompting.model import PromptedCLIP
from .prompting.prompt_text import ContextLearner

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(16, TOKENS)  # context tokens, when CTX_INIT is empty (paper: 4 or 16)
DEFAULTS.CSC = False  # a context of its own for each class
DEFAULTS.CTX_INIT = ""  # words whose embedding starts the context; they set the number of tokens
DEFAULTS.CLASS_TOKEN_POSITION = Key("end", one_of("end", "middle", "front"))  # where the class name stands (paper)
add_defaults("COOP", DEFAULTS)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.COOP
        words, position = options.CTX_INIT, options.CLASS_TOKEN_POSITION
        super().__init__("TRAINER.COOP.N_CTX", clip_model, classnames, options.N_CTX, words, options.CSC, position)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Context Optimization: Learning to Prompt for Vision-Language Models."""

    config_node = "COOP"
    custom_clip = CustomCLIP
