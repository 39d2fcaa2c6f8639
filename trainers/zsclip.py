"""Zero-shot CLIP (arXiv 2103.00020): the data set's hand-crafted template, nothing learned."""

from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import add_defaults, method_defaults
from .prompting.model import PromptedCLIP, encode_prompts
from .prompting.templates import template_for

add_defaults("ZSCLIP", method_defaults())


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.prompt_learner = nn.Module()  # nothing to learn
        text_features = encode_prompts(clip_model, [template_for(cfg)], classnames)
        self.register_buffer("text_features", text_features, persistent=False)  # (n_cls, dim)

    def encode_text(self):
        return self.text_features


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(PromptTrainer):
    """Learning Transferable Visual Models From Natural Language Supervision. Training it means testing it."""

    config_node = "ZSCLIP"
    custom_clip = CustomCLIP

    def train(self):
        print("Zero-shot CLIP has nothing to train")
        if self.cfg.TEST.NO_TEST:
            self.record().write()
        else:
            self.test()
