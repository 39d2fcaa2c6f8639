"""HiCroPL: hierarchical cross-modal prompts (arXiv 2507.14976).

Both encoders get prompts P_l (text) and V_l (images) in their first J layers, and knowledge flows between the two: in
the first k layers from text to images, behind them back. A layer's prompts of the side that gives are pooled to one
token, the layer's proxy (section 3.3),

    p_l = LN2(q_l + MHA(LN1 q_l, LN1 P_l, LN1 P_l)),

and one mapper for all layers of a direction makes the prompts of the side that takes from all of its own, X, and the
proxies p. With Q = W_q X, K = W_k p, U = W_v p,

    X' = Q + MHA(LN1 Q, LN1 K, LN1 U),        mapped prompts = X' + MLP(LN2 X').

Features are ensembled with the frozen CLIP's f0 and g0, g0 of sentences of a language model, and

    loss = ce + LAMBDA (1 - mean cos(g, g0)) + LAMBDA (1 - mean cos(f, f0)).

VARIANT "paper" uses the mapped prompts in the place of the taking side's own and trains all of this. VARIANT "released"
does in training what the authors' public code does: each step first writes the mapped prompts into the parameters,
outside of the gradients. So the maps keep their random start, and the step's gradient is of what was written. A
prediction of either maps once and writes nothing.
"""

import copy
from collections import OrderedDict

import torch
from clip.model import QuickGELU
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .errors import UserError, up_to
from .keys import CLASS_FILE, TOKENS, WEIGHT, Key, add_defaults, at_least, method_defaults, one_of
from .prompting.deep_prompts import check_depth, first_prompts, random_prompts, replace_image, replace_text
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import CTX_STD, PromptSequences
from .prompting.sentences import sentences_in
from .prompting.templates import template_for

DEFAULTS = method_defaults()
DEFAULTS.VARIANT = Key("paper", one_of("paper", "released"))  # see above
DEFAULTS.N_CTX = Key(16, TOKENS)  # prompt tokens in each encoder (authors' code; 2 across data sets)
# Words whose first N_CTX tokens start P_0 if there are 4 or fewer; otherwise, or empty, it is random (authors' code)
DEFAULTS.CTX_INIT = "a photo of a"
# J, layers with prompts of their own (authors' code; 6 across data sets)
DEFAULTS.PROMPT_DEPTH = Key(12, at_least(2))
# k, layers in which knowledge flows from text to images; in those behind it flows back (authors' code)
DEFAULTS.CROSS_LAYER = Key(6, at_least(1))
DEFAULTS.LAMBDA = Key(12.0, WEIGHT)  # weight of the losses that keep features near the frozen ones (authors' code)
# JSON file of sentences about the classes, {class name: [sentence, ...]}; empty: the template [ours]
DEFAULTS.SENTENCES = Key("", CLASS_FILE)
add_defaults("HICROPL", DEFAULTS)

HEADS = 8  # of all attention here (authors' code)
MOST_WORDS = 4  # tokens of CTX_INIT that P_0 may start from (authors' code)


def attend(attention, query, key, value):
    """(n, width), (m, width) twice -> (n, width)."""
    query, key, value = (x.unsqueeze(1) for x in (query, key, value))  # a batch of one, which PyTorch 1.9 wants
    return attention(query, key, value, need_weights=False)[0].squeeze(1)


class Proxy(nn.Module):
    """A layer's prompts (n, width) as one token (1, width): layer-specific knowledge proxy."""

    def __init__(self, width):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, prompts):
        key = self.ln_1(prompts)
        return self.ln_2(self.query + attend(self.attn, self.ln_1(self.query), key, key))


class Mapper(nn.Module):
    """Prompts of several layers from their own values and proxies of the other side: multi-scale knowledge mapper."""

    def __init__(self, width, proxy_width):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(n, width) for n in (width, proxy_width, proxy_width))
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, prompts, proxies):
        """prompts: a list of (n, width), proxies: as many (1, proxy_width) -> the mapped prompts, such a list."""
        proxies = torch.cat(proxies)
        q, k, v = self.q(torch.cat(prompts)), self.k(proxies), self.v(proxies)
        x = q + attend(self.attn, self.ln_1(q), self.ln_1(k), self.ln_1(v))
        x = x + self.c_proj(QuickGELU()(self.c_fc(self.ln_2(x))))
        return list(x.split(len(prompts[0])))


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options, n_ctx = cfg.TRAINER.HICROPL, cfg.TRAINER.HICROPL.N_CTX
        depth, self.first_back = options.PROMPT_DEPTH, options.CROSS_LAYER
        check_depth("TRAINER.HICROPL.PROMPT_DEPTH", depth, min(text_encoder.n_layers, image_encoder.n_layers))
        if self.first_back >= depth:
            raise UserError(
                f"TRAINER.HICROPL.CROSS_LAYER is {self.first_back}, but of {depth} layers with prompts "
                f"(PROMPT_DEPTH) one or more must be left behind it: choose {up_to(depth - 1)}."
            )
        words = options.CTX_INIT if n_ctx <= MOST_WORDS else ""
        ctx, words = first_prompts("TRAINER.HICROPL.N_CTX", clip_model, n_ctx, words)
        print(f'Initial context: "{words}", of which the first {n_ctx} tokens are learned; prompts in {depth} layers')
        text, image = text_encoder.width, image_encoder.width
        self.ctx = nn.Parameter(ctx)  # P_0 (n_ctx, width)
        self.deep_ctx = random_prompts(depth - 1, n_ctx, text)  # P_1 .. P_(J-1)
        start = CTX_STD * torch.randn(n_ctx, image)  # one for V_0 .. V_(J-1), as proxies of a kind have (authors' code)
        self.ctx_visual = nn.ParameterList([nn.Parameter(start.clone()) for _ in range(depth)])
        self.text_proxies, self.image_proxies = (
            nn.ModuleList([copy.deepcopy(proxy) for _ in range(n)])
            for proxy, n in ((Proxy(text), self.first_back), (Proxy(image), depth - self.first_back))
        )
        self.to_image, self.to_text = Mapper(image, text), Mapper(text, image)
        self.writes = options.VARIANT == "released"
        if self.writes:
            for flow in (self.text_proxies, self.image_proxies, self.to_image, self.to_text):
                flow.requires_grad_(False)
        self.sequences = PromptSequences(clip_model, classnames, words, n_ctx, key="TRAINER.HICROPL.N_CTX")

    def own(self):
        """P_0 .. and V_0 .. as they are, two lists of (n_ctx, width)."""
        return [self.ctx, *self.deep_ctx], list(self.ctx_visual)

    def mapped(self):
        """What `own` becomes."""
        (text, image), k = self.own(), self.first_back
        given = [proxy(prompts) for proxy, prompts in zip(self.text_proxies, text)]
        given_back = [proxy(prompts) for proxy, prompts in zip(self.image_proxies, image[k:])]
        return text[:k] + self.to_text(text[k:], given_back), self.to_image(image[:k], given) + image[k:]

    def for_training(self):
        """What `mapped` gives; "released": the parameters, which have that written into them."""
        if not self.writes:
            return self.mapped()
        with torch.no_grad():
            for parameters, values in zip(self.own(), self.mapped()):
                for parameter, value in zip(parameters, values):
                    parameter.copy_(value)
        return self.own()


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("HiCroPL", cfg)
        options = cfg.TRAINER.HICROPL
        self.w = options.LAMBDA
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        if options.SENTENCES:
            key = "TRAINER.HICROPL.SENTENCES"
            self.hand_features = sentences_in(options.SENTENCES, self.classnames, key, clip_model).means()  # g0
        else:
            self.add_hand_features(clip_model, [template_for(cfg)])

    def image_features(self, image, prompts):
        """f and f0, both normalised (B, dim)."""
        with torch.no_grad():
            frozen = normalise(self.image_encoder(image))
        first, *deep = prompts
        return normalise(normalise(self.image_encoder(image, first, replace_image(deep))) + frozen), frozen

    def text_features(self, prompts):
        """g, normalised (n_cls, dim)."""
        first, *deep = prompts
        prompted = self.text_encoder(self.prompt_learner.sequences(first), replace_text(deep))
        return normalise(normalise(prompted) + self.hand_features)

    def encode_image(self, image):
        return self.image_features(image, self.prompt_learner.mapped()[1])[0]

    def encode_text(self):
        return self.text_features(self.prompt_learner.mapped()[0])

    def context_tokens(self):
        return dict(enumerate(self.prompt_learner.mapped()[0]))

    def training_pass(self, image, label):
        text, visual = self.prompt_learner.for_training()
        (f, frozen), g = self.image_features(image, visual), self.text_features(text)
        logits = self.logits(f, g)
        losses = OrderedDict(
            ce=F.cross_entropy(logits, label),
            distill_text=self.w * (1 - (g * self.hand_features).sum(dim=-1).mean()),
            distill_image=self.w * (1 - (f * frozen).sum(dim=-1).mean()),
        )
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class HiCroPL(PromptTrainer):
    """HiCroPL: Hierarchical Cross-modal Prompt Learning for Vision-Language Models."""

    config_node = "HICROPL"
    custom_clip = CustomCLIP
