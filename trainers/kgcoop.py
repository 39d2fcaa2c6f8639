"""KgCoOp: knowledge-guided context optimization (arXiv 2303.13283).

CoOp forgets what CLIP knows about other classes as its text features leave those of the hand-crafted prompts. KgCoOp
learns the same context, shared by all classes, and keeps the text features near (section 3.2):

    loss = ce + W (1 - mean_c cos(g_c, g_hand_c)).

The paper writes the second term as a mean squared distance. On features of unit length that is twice the term here,
which is the one of the authors' code, and W = 8 belongs to the code.
"""

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, add_defaults
from .prompting.model import PromptedCLIP, encode_prompts
from .prompting.prompt_text import ContextLearner
from .prompting.templates import KGCOOP_TEMPLATES, template_for

NODE = CN()
NODE.N_CTX = 4  # context tokens, when CTX_INIT is empty (authors' scripts)
NODE.CTX_INIT = "a photo of a"  # words whose embedding starts the context; they set its length (authors' code)
NODE.W = 8.0  # weight of the knowledge-guided loss (authors' scripts)
NODE.PREC = "fp16"  # fp32 | fp16 | bf16 | amp; fp16 falls back to fp32 on a CPU
add_defaults("KGCOOP", NODE)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        node = cfg.TRAINER.KGCOOP
        super().__init__(clip_model, classnames, node.N_CTX, node.CTX_INIT)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.w = cfg.TRAINER.KGCOOP.W
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        hand = encode_prompts(clip_model, [template_for(cfg, KGCOOP_TEMPLATES)], classnames)
        self.register_buffer("hand_features", hand, persistent=False)  # (n_cls, dim)

    def text_views(self):
        return {"hand-crafted": self.hand_features, "KgCoOp": self.encode_text()}

    def losses(self, image_features, text_features, logits, label):
        losses = super().losses(image_features, text_features, logits, label)
        losses["kg"] = self.w * (1 - (text_features * self.hand_features).sum(dim=-1).mean())
        return losses


@TRAINER_REGISTRY.register()
class KgCoOp(PromptTrainer):
    """Visual-Language Prompt Tuning with Knowledge-guided Context Optimization."""

    node = "KGCOOP"
    custom_clip = CustomCLIP
