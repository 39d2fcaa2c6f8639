"""PromptSRC: self-regulating prompts (arXiv 2307.06948).

Both encoders get learned tokens of their own in their first layers (independent vision-language prompting, section
3.1), and three things keep them from forgetting what CLIP knows (section 3.2):

- Mutual agreement: prompted image features f, text features g and logits stay near the frozen CLIP's f0, g0 of the
  same images and classes,
      loss = ce + IMAGE_LOSS_WEIGHT |f - f0| + TEXT_LOSS_WEIGHT |g - g0| + KL(p0 || p).
- Textual diversity: g0 is the mean over 60 templates.
- Self-ensembling: the model that is kept is a Gaussian-weighted sum of the prompts after each epoch.

The paper writes the distances as sums over the channels; as in the authors' code, for which the published weights are
meant, they are means over all elements, and the KL divergence is divided by the number of logits.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT, Key, above, add_defaults, at_least, method_defaults
from .prompting.deep_prompts import check_depth, first_prompts, random_prompts, replace_image, replace_text
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import PromptSequences
from .prompting.templates import promptsrc_templates

DEFAULTS = method_defaults()
DEFAULTS.N_CTX_VISION = Key(4, TOKENS)  # prompt tokens in the image encoder (authors' code)
DEFAULTS.N_CTX_TEXT = Key(4, TOKENS)  # prompt tokens in the text encoder (authors' code)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose first N_CTX_TEXT tokens start P_0; empty: random (authors' code)
# Layers with prompts of their own (authors' code; 3 across data sets)
DEFAULTS.PROMPT_DEPTH_VISION = Key(9, at_least(1))
DEFAULTS.PROMPT_DEPTH_TEXT = Key(9, at_least(1))
DEFAULTS.TEXT_LOSS_WEIGHT = Key(25, WEIGHT)  # weight of the loss on text features (paper and authors' code)
DEFAULTS.IMAGE_LOSS_WEIGHT = Key(10, WEIGHT)  # weight of the loss on image features (paper and authors' code)
DEFAULTS.GPA_MEAN = 15  # epoch of largest weight in the aggregate, counted from 1 (authors' code, for 20 epochs)
DEFAULTS.GPA_STD = Key(1, above(0))  # standard deviation of the weights, in epochs (authors' code, for 20 epochs)
add_defaults("PROMPTSRC", DEFAULTS)


def gaussian_weights(n_epochs, mean, std):
    """Weights of the prompts after epochs 1 .. n_epochs: a Gaussian over the epoch that sums to 1, float64."""
    epochs = torch.arange(1, n_epochs + 1, dtype=torch.float64)
    return torch.softmax(-0.5 * ((epochs - mean) / std) ** 2, dim=0)


class Aggregate(nn.Module):
    """Running weighted sum of a module's parameters, in buffers: part of a checkpoint, not optimised."""

    def __init__(self, module):
        super().__init__()
        for name, parameter in module.named_parameters():
            self.register_buffer(name.replace(".", "_"), torch.zeros_like(parameter))

    @torch.no_grad()
    def add(self, weight, module):
        for total, parameter in zip(self.buffers(), module.parameters()):
            total.add_(weight * parameter)

    @torch.no_grad()
    def copy_to(self, module):
        for total, parameter in zip(self.buffers(), module.parameters()):
            parameter.copy_(total)


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options = cfg.TRAINER.PROMPTSRC
        depth_text, depth_vision = options.PROMPT_DEPTH_TEXT, options.PROMPT_DEPTH_VISION
        check_depth("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", depth_text, text_encoder.n_layers)
        check_depth("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", depth_vision, image_encoder.n_layers)
        ctx, words = first_prompts("TRAINER.PROMPTSRC.N_CTX_TEXT", clip_model, options.N_CTX_TEXT, options.CTX_INIT)
        print(f'Initial context: "{words}", of which the first {len(ctx)} tokens are learned')
        self.ctx = nn.Parameter(ctx)  # P_0 (n_ctx_text, width of text)
        self.deep_ctx = random_prompts(depth_text - 1, len(ctx), text_encoder.width)  # P_1 .. P_(J-1)
        self.ctx_visual = random_prompts(depth_vision, options.N_CTX_VISION, image_encoder.width)  # Q_0 .. Q_(K-1)
        self.sequences = PromptSequences(clip_model, classnames, words, len(ctx), key="TRAINER.PROMPTSRC.N_CTX_TEXT")

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, width)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("PromptSRC", cfg)
        self.options = cfg.TRAINER.PROMPTSRC
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        self.training_only["aggregate"] = Aggregate(self.prompt_learner)
        self.add_hand_features(clip_model, promptsrc_templates(cfg), unit=False)  # g0

    def encode_image(self, image):
        first, *deep = self.prompt_learner.ctx_visual
        return normalise(self.image_encoder(image, first, replace_image(deep)))

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(self.text_encoder(learner(), replace_text(learner.deep_ctx)))

    def training_pass(self, image, label):
        f, g, g0 = self.encode_image(image), self.encode_text(), self.hand_features
        logits = self.logits(f, g)
        with torch.no_grad():
            f0 = normalise(self.image_encoder(image))
            log_p0 = self.logits(f0, g0).log_softmax(dim=-1)
        kl = F.kl_div(logits.log_softmax(dim=-1), log_p0, reduction="sum", log_target=True)  # KL(p0 || p)
        losses = OrderedDict(
            ce=F.cross_entropy(logits, label),
            scl_text=self.options.TEXT_LOSS_WEIGHT * F.l1_loss(g, g0),
            scl_image=self.options.IMAGE_LOSS_WEIGHT * F.l1_loss(f, f0),
            scl_logits=kl / logits.numel(),
        )
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class PromptSRC(PromptTrainer):
    """Self-regulating Prompts: Foundational Model Adaptation without Forgetting."""

    config_node = "PROMPTSRC"
    custom_clip = CustomCLIP

    def build_model(self):
        options = self.cfg.TRAINER.PROMPTSRC
        self.weights = gaussian_weights(self.cfg.OPTIM.MAX_EPOCH, options.GPA_MEAN, options.GPA_STD).tolist()
        super().build_model()

    def after_epoch(self):
        """Add this epoch's prompts to the aggregate, which takes their place after the last epoch."""
        learner, aggregate = self.model.prompt_learner, self.model.training_only["aggregate"]
        aggregate.add(self.weights[self.epoch], learner)
        if self.epoch + 1 == self.max_epoch:
            print("The prompts become the weighted sum over all epochs")
            aggregate.copy_to(learner)
        super().after_epoch()
