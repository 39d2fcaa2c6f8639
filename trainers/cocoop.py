"""CoCoOp: conditional context optimization (arXiv 2203.05557).

CoOp's context fits the classes it was learned on. CoCoOp learns besides it a meta network h that turns an image's
feature f into one token pi = h(f), which is added to every context token (section 3.2):

    v_m(f) = v_m + pi                       m = 1 .. n_ctx
    logits = exp(logit_scale) cos(f, g_c(v(f)))

so each image has text features of its own: B images and n_cls classes are B n_cls prompt sequences. The authors' code
encodes them image by image. Here those of several images go through the text encoder together. Trained by
cross-entropy.
"""

import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .compat import autocast
from .keys import TOKENS, Key, add_defaults, method_defaults
from .prompting.meta_net import MetaNet
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import PromptSequences, init_ctx

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(4, TOKENS)  # context tokens, when CTX_INIT is empty (section 4)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose embedding starts the context; they set its length (section 4)
add_defaults("COCOOP", DEFAULTS)

SEQUENCES = 1024  # prompts that an evaluation encodes at once, of one image at least (our choice)
REDUCTION = 16  # the meta network's hidden layer is so much narrower than its input (section 3.2)


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        options = cfg.TRAINER.COCOOP
        ctx, words = init_ctx(clip_model, options.N_CTX, options.CTX_INIT, key="TRAINER.COCOOP.N_CTX")
        n_ctx, width = ctx.shape
        dim = clip_model.text_projection.shape[1]  # of the features of both encoders
        print(f'Initial context: "{words}" ({n_ctx} tokens)')
        self.ctx = nn.Parameter(ctx)  # v (n_ctx, width)
        self.meta_net = MetaNet(dim, dim // REDUCTION, width)  # h
        self.sequences = PromptSequences(clip_model, classnames, words, n_ctx, key="TRAINER.COCOOP.N_CTX")

    def forward(self, image_features):
        """Normalised image features (B, dim) -> each image's context v(f) (B, n_ctx, width)."""
        return self.ctx + self.meta_net(image_features).unsqueeze(1)


class CustomCLIP(PromptedCLIP):
    text_depends_on_image = True
    context_note = "To each of these tokens the meta network adds one vector, another one for each image."

    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)

    def encode_text(self, image_features):
        """Normalised text features for each image: (B, dim) -> (B, n_cls, dim), float32."""
        learner, n_cls = self.prompt_learner, len(self.classnames)
        ctx = learner(image_features)
        n_img = len(ctx) if torch.is_grad_enabled() else max(1, SEQUENCES // n_cls)
        features = [self.text_encoder(learner.sequences.of_images(some)) for some in ctx.split(n_img)]
        return normalise(torch.cat(features)).unflatten(0, (-1, n_cls))

    def text_views(self):
        """The part that no image changes: prompts of the context v + h(0)."""
        no_image = torch.zeros_like(self.text_encoder.text_projection[:1], dtype=torch.float32)  # (1, dim)
        return {"CoCoOp of no image": self.encode_text(no_image)[0]}

    def logits(self, image_features, text_features):
        """exp(logit_scale) cos(image, its text): (B, dim), (B, n_cls, dim) -> (B, n_cls), float32."""
        with autocast(image_features.device.type, enabled=False):
            return self.logit_scale.exp() * (text_features @ image_features.unsqueeze(-1)).squeeze(-1)


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """Conditional Prompt Learning for Vision-Language Models."""

    config_node = "COCOOP"
    custom_clip = CustomCLIP
