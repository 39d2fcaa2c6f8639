"""Knowledge-guided consistency: learned text features stay near those of the hand-crafted prompt (arXiv 2303.13283)."""

from .model import PromptedCLIP
from .templates import template_for


class KnowledgeGuidedCLIP(PromptedCLIP):
    """A prompted CLIP with the loss ce + w (1 - mean_c cos(g_c, g_hand_c)) (arXiv 2303.13283, section 3.2).

    g_hand is that of the data set's template in the table `templates`.
    """

    def __init__(self, cfg, classnames, clip_model, w, templates):
        super().__init__(cfg, classnames, clip_model)
        self.w = w
        self.add_hand_features(clip_model, [template_for(cfg, templates)])

    def losses(self, image_features, text_features, logits, label):
        losses = super().losses(image_features, text_features, logits, label)
        losses["kg"] = self.w * (1 - (text_features * self.hand_features).sum(dim=-1).mean())
        return losses
