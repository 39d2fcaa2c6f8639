"""SEP: Self-Enhanced Prompt Tuning (arXiv 2405.15549).

Prompt tokens are the same for every input; SEP renews them before each encoder layer from the input's own tokens:
it picks representative tokens R and merges them into the prompt tokens P by cross-attention (Token Fusion Module).

- Text, for every class: R are the n_ctx tokens behind the prompts (class name, ".", EOS, ...).
- Image, for every image: R are the n_ctx_v tokens of largest power (mean squared activation) among CLS and patches.
- Both features are ensembled with those of the frozen CLIP; the loss is cross-entropy plus consistency with the
  frozen features plus a loss on learnable class prototypes.

VARIANT "paper" treats each image and each class by itself. VARIANT "released" reproduces the authors' public code,
where (1) visual representative tokens are chosen once for the whole batch and (2) the fusion attends over the
batch (images) or the classes (text) at each token position instead of over tokens: a prediction then depends on
what else is evaluated with it. docs/methods.md states all equations.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .backbone.clip_loader import CONTEXT_LENGTH
from .base import PromptTrainer
from .errors import UserError, up_to
from .keys import LAYERS, TOKENS, WEIGHT, Key, add_defaults, method_defaults, one_of
from .prompting.encoders import attend, chosen_layers
from .prompting.layers import quick_mlp
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import CTX_STD, PromptSequences, init_ctx
from .prompting.templates import SEP_TEMPLATES, template_for

DEFAULTS = method_defaults()
DEFAULTS.VARIANT = Key("paper", one_of("paper", "released"))  # see above
DEFAULTS.N_CTX = Key(6, TOKENS)  # textual prompt tokens, when CTX_INIT is empty (authors' code)
DEFAULTS.N_CTX_V = Key(4, TOKENS)  # visual prompt tokens (authors' code)
DEFAULTS.CTX_INIT = ""  # words whose embedding starts the textual prompts; they set their number
# Layers, from 0, whose input is enhanced; empty: all but each encoder's first (authors' code)
DEFAULTS.LAYERS = Key([], LAYERS)
DEFAULTS.ENHANCE = Key("both", one_of("both", "text", "image"))  # encoders whose prompts are enhanced, for ablations
DEFAULTS.W = Key(8.0, WEIGHT)  # weight of the textual consistency loss (authors' code)
DEFAULTS.W_V = Key(6.0, WEIGHT)  # weight of the visual consistency loss (authors' code)
DEFAULTS.W_PROTO = Key(0.5, WEIGHT)  # weight of the prototype loss (authors' code)
add_defaults("SEP", DEFAULTS)

HIDDEN = 256  # of the fusion's MLP (authors' code)
SCALE = 0.75  # initial s1 and s2 (authors' code)
PROTO_SCALE = 10.0  # logit scale of the prototype loss (authors' code)


class Blend(torch.autograd.Function):
    """(s, a, b) -> s a + (1 - s) b, s (1,), in fewer kernels than PyTorch's gradients of `lerp`."""

    @staticmethod
    def forward(ctx, s, a, b):
        ctx.save_for_backward(s, a, b)
        return torch.lerp(b, a, s)

    @staticmethod
    def backward(ctx, grad):
        s, a, b = ctx.saved_tensors
        of_a = s * grad
        return ((a - b) * grad).sum().view_as(s), of_a, grad - of_a


def blend(s, a, b):
    """As `Blend`; without gradients the plain function, which programs can be exported of."""
    return Blend.apply(s, a, b) if torch.is_grad_enabled() else torch.lerp(b, a, s)


class TokenFusion(nn.Module):
    """Token Fusion Module: merges representative tokens into prompt tokens.

    h = s1 R + (1 - s1) MHA(query=LN1(P), key=LN1(R), value=LN1(R));  out = s2 h + (1 - s2) MLP(LN2(h)).

    across_batch: attend over the first dimension instead of the second (the authors' code).
    """

    def __init__(self, width, across_batch=False):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, max(1, width // 64), batch_first=not across_batch)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, HIDDEN, bias=False)
        self.mlp_out = nn.Linear(HIDDEN, width, bias=False)
        self.scale_1 = nn.Parameter(torch.full((1,), SCALE))
        self.scale_2 = nn.Parameter(torch.full((1,), SCALE))

    def forward(self, representative, prompts):
        """(batch, n, width) twice -> (batch, n, width), in the dtype of the prompts."""
        dtype, prompts, representative = prompts.dtype, prompts.float(), representative.float()
        query, key = self.ln_1(torch.cat([prompts, representative])).split([prompts.shape[0]] * 2)
        h = blend(self.scale_1, representative, self._attend(query, key).float())
        mlp = quick_mlp(self.ln_2(h), self.mlp_in.weight, None, self.mlp_out.weight, None)
        return blend(self.scale_2, h, mlp.float()).to(dtype)

    def _attend(self, query, key):
        """What `self.attn` gives with the key as value."""
        attn, width = self.attn, query.shape[-1]
        parts = zip(attn.in_proj_weight.split([width, 2 * width]), attn.in_proj_bias.split([width, 2 * width]))
        query, keys_values = (F.linear(x, *part) for x, part in zip((query, key), parts))
        if not attn.batch_first:
            query, keys_values = query.transpose(0, 1), keys_values.transpose(0, 1)
        mixed = attend(attn.num_heads, query, keys_values)
        return attn.out_proj(mixed if attn.batch_first else mixed.transpose(0, 1))


class TextEnhancer(nn.ModuleDict):
    """Hook before the text encoder's layers: each class's x = [SOS, P, class name, ".", EOS, ...]."""

    def __init__(self, layers, width, n_ctx, across_batch):
        super().__init__({str(i): TokenFusion(width, across_batch) for i in layers})
        self.n_ctx, self.width = n_ctx, width

    def kept(self, n):
        """Bytes for n classes: of each prompt token 13 vectors and the MLP's two, in float32 (counted)."""
        return n * len(self) * self.n_ctx * (13 * self.width + 2 * HIDDEN) * 4

    def forward(self, layer, x):
        if str(layer) not in self:
            return x
        n = self.n_ctx
        prompts = self[str(layer)](x.read(1 + n, 1 + 2 * n), x.read(1, 1 + n))
        return x.replace(1, prompts)


class ImageEnhancer(nn.ModuleDict):
    """Hook before the image encoder's layers: x (batch, length, width) = [CLS, patches, P]."""

    def __init__(self, layers, width, n_ctx, across_batch):
        super().__init__({str(i): TokenFusion(width, across_batch) for i in layers})
        self.n_ctx = n_ctx
        self.across_batch = across_batch

    def forward(self, layer, x):
        if str(layer) not in self:
            return x
        rest, prompts = x[:, : -self.n_ctx], x[:, -self.n_ctx :]
        chosen = self.choose(rest).unsqueeze(-1).expand(-1, -1, x.shape[-1])
        prompts = self[str(layer)](rest.gather(1, chosen), prompts)
        return torch.cat([rest, prompts], dim=1)

    def choose(self, tokens):
        """Positions of the tokens of largest power, in descending order: (batch, m, width) -> (batch, n_ctx)."""
        power = tokens.detach().float().pow(2).mean(dim=-1)  # (batch, m)
        if self.across_batch:
            power = power.mean(dim=0, keepdim=True).expand_as(power)
        return power.topk(self.n_ctx, dim=1).indices


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options = cfg.TRAINER.SEP
        across_batch = options.VARIANT == "released"
        n_image = len(image_encoder.visual.positional_embedding)
        if options.N_CTX_V > n_image:
            raise UserError(
                f"TRAINER.SEP.N_CTX_V is {options.N_CTX_V}, but an image has {n_image} tokens (CLS and patches) to "
                f"renew prompts from: choose {up_to(n_image)}."
            )
        # R reads as many positions behind the prompts: 1 + 2 n_ctx of them, which may lie behind the last EOS
        room = (CONTEXT_LENGTH - 1) // 2
        ctx, words = init_ctx(clip_model, options.N_CTX, options.CTX_INIT, key="TRAINER.SEP.N_CTX", room=room)
        print(f'Initial context: "{words}" ({len(ctx)} tokens), and {options.N_CTX_V} visual tokens')
        self.ctx = nn.Parameter(ctx)  # (n_ctx, width of text)
        self.ctx_visual = nn.Parameter(CTX_STD * torch.randn(options.N_CTX_V, image_encoder.width))
        depths = text_encoder.n_layers, image_encoder.n_layers
        text_layers, image_layers = (
            chosen_layers("TRAINER.SEP.LAYERS", options.LAYERS, depth, max(depths), first=1)
            if options.ENHANCE in ("both", encoder)
            else []
            for encoder, depth in zip(("text", "image"), depths)
        )
        self.text_enhancer = TextEnhancer(text_layers, text_encoder.width, len(ctx), across_batch)
        self.image_enhancer = ImageEnhancer(image_layers, image_encoder.width, options.N_CTX_V, across_batch)
        self.sequences = PromptSequences(
            clip_model, classnames, words, len(ctx), min_length=1 + 2 * len(ctx), key="TRAINER.SEP.N_CTX"
        )

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, width)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("SEP", cfg)
        self.w, self.w_v, self.w_proto = cfg.TRAINER.SEP.W, cfg.TRAINER.SEP.W_V, cfg.TRAINER.SEP.W_PROTO
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        self.add_hand_features(clip_model, [template_for(cfg, SEP_TEMPLATES)])
        n_cls, dim = self.hand_features.shape
        # V, the class prototypes; the trainer sets them before training
        self.training_only["prototypes"] = nn.Linear(dim, n_cls, bias=False)

    def encode_image(self, image):
        return self._encode_image(image)[0]

    def _encode_image(self, image):
        """f and f_frozen, both normalised (B, dim)."""
        learner = self.prompt_learner
        with torch.no_grad():
            frozen = normalise(self.image_encoder(image))
        prompted = normalise(self.image_encoder(image, learner.ctx_visual, learner.image_enhancer))
        return normalise(prompted + frozen), frozen

    def chosen_tokens(self, image):
        learner, chosen = self.prompt_learner, {}
        enhancer = learner.image_enhancer

        def before_layer(layer, x):
            if str(layer) in enhancer:
                chosen[layer] = enhancer.choose(x[:, : -enhancer.n_ctx])
            return enhancer(layer, x)

        self.image_encoder(image, learner.ctx_visual, before_layer)
        return chosen

    @property
    def context_note(self):
        layers = list(self.prompt_learner.text_enhancer)
        if not layers:
            return ""
        which = f"layer{'s' * (len(layers) > 1)} {', '.join(layers)}"
        return f"Before {which} they are merged, class by class, with as many tokens behind them."

    def encode_text(self):
        learner = self.prompt_learner
        prompted = self.text_encoder(learner(), learner.text_enhancer)
        return normalise(normalise(prompted) + self.hand_features)

    def prototype_logits(self, features):
        """10 cos(f, V): (B, dim) -> (B, n_cls)."""
        return PROTO_SCALE * features @ normalise(self.training_only["prototypes"].weight).t()

    def training_pass(self, image, label):
        (f, frozen), g = self._encode_image(image), self.encode_text()
        logits = self.logits(f, g)
        proto = sum(F.cross_entropy(self.prototype_logits(x), label) for x in (f, frozen))
        losses = OrderedDict(
            ce=F.cross_entropy(logits, label),
            text=self.w * (1 - (g * self.hand_features).sum(dim=-1).mean()),
            visual=self.w_v * (1 - (f * frozen).sum(dim=-1).mean()),
            proto=self.w_proto * proto,
        )
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class SEP(PromptTrainer):
    """Self-Enhanced Prompt Tuning."""

    config_node = "SEP"
    custom_clip = CustomCLIP

    def prepare_training(self):
        """Prototypes start as the normalised mean of the frozen features of each class's training images."""
        sums = torch.zeros_like(self.model.hand_features)
        for features, label in self.training_features():
            sums.index_add_(0, label, normalise(features))
        self.model.training_only["prototypes"].weight.data.copy_(normalise(sums))
