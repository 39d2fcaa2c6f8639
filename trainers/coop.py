"""CoOp: learned context vectors in front of the class names (arXiv 2109.01134).

Prompt of a class (section 3.2): [V]_1 ... [V]_n_ctx [CLASS], the V shared by all classes (unified context) or of its
own for each class (class-specific context, CSC); the class name may also stand in the middle or in front.
Trained by cross-entropy of exp(logit_scale) * cos(image, text).
"""

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, add_defaults
from .prompting.model import PromptedCLIP
from .prompting.prompt_text import ContextLearner

NODE = CN()
NODE.N_CTX = 16  # context tokens, when CTX_INIT is empty (paper: 4 or 16)
NODE.CSC = False  # a context of its own for each class
NODE.CTX_INIT = ""  # words whose embedding starts the context; they set the number of tokens
NODE.CLASS_TOKEN_POSITION = "end"  # end | middle | front
NODE.PREC = "fp16"  # fp32 | fp16 | bf16 | amp; fp16 falls back to fp32 on a CPU
add_defaults("COOP", NODE)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        node = cfg.TRAINER.COOP
        super().__init__(clip_model, classnames, node.N_CTX, node.CTX_INIT, node.CSC, node.CLASS_TOKEN_POSITION)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Context Optimization: Learning to Prompt for Vision-Language Models."""

    node = "COOP"
    custom_clip = CustomCLIP
