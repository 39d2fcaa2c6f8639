"""ProGrad: prompt-aligned gradient for prompt tuning (arXiv 2205.14865).

CoOp's context, shared by all classes. Two losses give two directions (section 3.2): the cross-entropy with the labels
that of the domain, and the divergence from zero-shot CLIP's prediction p0 the general one,

    ce = CE(logits)        kl = -T^2 mean_b sum_c p0_c log p_c        p0, p = softmax of logits / T.

Only the gradient of ce is followed, less its component against the gradient of kl (`project_conflicting`).

As in the authors' code, kl is the cross-entropy with p0, the divergence but for a constant, p0's entropy; and the
context starts as the words of the data set's template, behind zeros.
"""

import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .errors import UserError
from .keys import TOKENS, Key, above, add_defaults, between, method_defaults
from .prompting.gradient_projection import project_conflicting
from .prompting.mixup import soft_cross_entropy
from .prompting.model import PromptedCLIP
from .prompting.prompt_text import PromptSequences, check_room, embed, init_ctx, n_tokens, tokenize, words_of
from .prompting.templates import PROGRAD_TEMPLATES, template_for

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(16, TOKENS)  # context tokens (authors' scripts)
DEFAULTS.CTX_INIT = True  # start: zeros, then the words of the data set's template; False: random (authors' configs)
DEFAULTS.LAMBDA = Key(1.0, between(0, 1))  # share of the conflicting component taken away; 0: CoOp (authors' scripts)
DEFAULTS.T = Key(1.0, above(0))  # temperature that divides the logits in kl (authors' configs)
add_defaults("PROGRAD", DEFAULTS)


def template_start(clip_model, template, n_ctx):
    """Context (n_ctx, dim), float32, that starts as zeros and the template's words in front of the class name.

    One vector for each word (authors' code). Where the template has more tokens than words, as for a comma, its last
    tokens have no vector: they stay in the prompt, behind the context.
    Returns the context and the words that stand for it. Raises UserError if they are more than n_ctx.
    """
    words = words_of(template.partition("{}")[0]).strip()
    n_words = min(len(words.split()), n_tokens(words))
    if n_words > n_ctx:
        raise UserError(
            f'TRAINER.PROGRAD.N_CTX is {n_ctx}, but the template starts with the {n_words} words "{words}": set it to '
            f"{n_words} or more, or start at random with TRAINER.PROGRAD.CTX_INIT False."
        )
    check_room(n_ctx, "TRAINER.PROGRAD.N_CTX")
    check_room(n_tokens(words), f'The number of tokens in front of the class name in template "{template}"')
    embedding = embed(clip_model, tokenize([words]))[0, 1 : 1 + n_words].float()
    ctx = embedding.new_zeros(n_ctx, embedding.shape[1])
    ctx[n_ctx - n_words :] = embedding
    return ctx, " ".join(["X"] * (n_ctx - n_words) + [words])


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        options, template = cfg.TRAINER.PROGRAD, template_for(cfg, PROGRAD_TEMPLATES)
        if options.CTX_INIT and not template.startswith("{}"):
            ctx, words = template_start(clip_model, template, options.N_CTX)
        else:
            ctx, words = init_ctx(clip_model, options.N_CTX, key="TRAINER.PROGRAD.N_CTX")
        print(f'Initial context: "{words}" ({options.N_CTX} tokens)')
        self.ctx = nn.Parameter(ctx)
        self.sequences = PromptSequences(clip_model, classnames, words, options.N_CTX, key="TRAINER.PROGRAD.N_CTX")

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, dim)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.options = cfg.TRAINER.PROGRAD
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.add_hand_features(clip_model, [template_for(cfg, PROGRAD_TEMPLATES)])

    def losses(self, image_features, text_features, logits, label):
        """ce and kl; their sum, logged as `loss`, is not what is trained."""
        losses = super().losses(image_features, text_features, logits, label)
        p0 = (self.logits(image_features, self.hand_features) / self.options.T).softmax(dim=-1)  # (B, n_cls)
        losses["kl"] = self.options.T**2 * soft_cross_entropy(logits / self.options.T, p0)
        return losses

    def backward(self, losses):
        """Gradient of ce, less its component against that of kl. It has the scale of ce."""
        learned = list(self.prompt_learner.parameters())
        general = torch.autograd.grad(losses["kl"], learned, retain_graph=True)
        domain = torch.autograd.grad(losses["ce"], learned)
        for parameter, gradient in zip(learned, project_conflicting(domain, general, self.options.LAMBDA)):
            parameter.grad = gradient


@TRAINER_REGISTRY.register()
class ProGrad(PromptTrainer):
    """Prompt-aligned Gradient for Prompt Tuning."""

    config_node = "PROGRAD"
    custom_clip = CustomCLIP
