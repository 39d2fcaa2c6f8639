"""Two features of a picture: of its class token, and of tokens that come from a learned space.

MMRL's (arXiv 2503.08497), which MMRL++ (arXiv 2505.10088) has too.
"""

from collections import OrderedDict

import torch
from torch.nn import functional as F

from .model import PromptedCLIP, normalise
from .templates import template_for


class RepresentationCLIP(PromptedCLIP):
    """A prompted CLIP whose layers have representation tokens behind SOS and CLS.

    A method gives itself a `prompt_learner` that has `rep_tokens` (K, D), the hooks `text_tokens` and `image_tokens`,
    which put K tokens in, and `projection`: CLIP's own of images (width, dim) -> that of the tokens.

    Args:
        alpha: share of the class token's feature, 0 to 1.
        w: weight of the losses that keep features near the frozen ones.
    """

    def __init__(self, cfg, classnames, clip_model, alpha, w):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit(cfg.TRAINER.NAME, cfg)
        self.alpha, self.w = alpha, w
        self.add_hand_features(clip_model, [template_for(cfg)])  # g0

    def both_features(self, image):
        """f and r, both normalised (B, dim)."""
        learner, n = self.prompt_learner, len(self.prompt_learner.rep_tokens)
        x = self.image_encoder.outputs(image, before_layer=learner.image_tokens(), n_read=1 + n)
        proj = self.image_encoder.visual.proj
        return normalise(x[:, 0] @ proj), normalise(x[:, 1:].float().mean(dim=1) @ learner.projection(proj))

    def mixed(self, f, r):
        return self.alpha * f + (1 - self.alpha) * r

    def encode_image(self, image):
        """What is compared with text features (B, dim): of unit length on new classes alone."""
        f, r = self.both_features(image)
        return self.mixed(f, r) if self.seen_classes else f

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(self.text_encoder(learner(), learner.text_tokens()))

    def training_pass(self, image, label):
        (f, r), g, g0 = self.both_features(image), self.encode_text(), self.hand_features
        with torch.no_grad():
            f0 = normalise(self.image_encoder(image))
        losses = OrderedDict(
            ce=self.alpha * F.cross_entropy(self.logits(f, g), label),
            ce_rep=(1 - self.alpha) * F.cross_entropy(self.logits(r, g), label),
            reg_image=self.w * (1 - (f * f0).sum(dim=-1).mean()),
            reg_text=self.w * (1 - (g * g0).sum(dim=-1).mean()),
        )
        mixed = self.mixed(f, r)
        return mixed, g, self.logits(mixed, g), losses
