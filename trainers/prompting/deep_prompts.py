"""Deep prompts: the first layers of an encoder each get prompt tokens of their own.

Depth J means: the prompts P_0 enter with the input, and before layer i = 1 .. J-1 whatever stands in their place is
thrown away for new tokens P_i. Later layers pass on what layer J-1 has made of them (visual prompt tuning,
arXiv 2203.12119, section 3.2, "deep"; for both encoders of CLIP MaPLe, arXiv 2210.03117, section 3.2).
"""

from typing import Optional, Sequence

import torch
from torch import nn

from ..errors import UserError, up_to
from .encoders import BeforeLayer
from .prompt_text import CTX_STD, init_ctx, words_ctx


def first_prompts(key, clip_model, n_ctx, words):
    """P_0 of the text encoder: the embedding of the first `n_ctx` tokens of `words`, or random if there are none.

    Returns ctx, float32 (n_ctx, width), and the prompt's first words: those behind the first n_ctx tokens stay as they
    are. Raises UserError if config key `key` asks for more tokens than `words` has, or for none.
    """
    if not words:
        return init_ctx(clip_model, n_ctx, key=key)
    ctx, words = words_ctx(clip_model, words, key)
    if not 1 <= n_ctx <= len(ctx):
        raise UserError(
            f'{key} is {n_ctx}, but CTX_INIT "{words}" has {len(ctx)} tokens to start from: choose {up_to(len(ctx))}, '
            f'or start at random with CTX_INIT "".'
        )
    return ctx[:n_ctx].clone(), words


def random_prompts(n_layers, n_ctx, width):
    """One learnable (n_ctx, width) per layer, drawn from N(0, 0.02^2)."""
    return nn.ParameterList([nn.Parameter(CTX_STD * torch.randn(n_ctx, width)) for _ in range(n_layers)])


def check_depth(key, depth, n_layers):
    """Raise UserError if config key `key` asks for prompts in more layers than there are, or in none."""
    if n_layers < 1:
        raise UserError(f"{key} is {depth}, but this backbone has no layer for such prompts: choose a deeper one.")
    if not 1 <= depth <= n_layers:
        raise UserError(
            f"{key} is {depth}, but this backbone has room for prompts in {n_layers} layer{'s' * (n_layers > 1)}: "
            f"choose {up_to(n_layers)}."
        )


def replace_text(prompts: Sequence[torch.Tensor], first: int = 1) -> BeforeLayer:
    """Hook for the text encoder's x = [SOS, P, class name, ...]: prompts[i - first] takes P's place before layer i.

    prompts: for layers `first` and on, (n_ctx, width), the same for every sequence, or (n, n_ctx, width).
    """

    def before_layer(i, x):
        if not first <= i < first + len(prompts):
            return x
        new = prompts[i - first]
        return x.replace(1, new if new.dim() == 2 else new.index_select(0, x.rows))

    return before_layer


def replace_image(prompts: Sequence[torch.Tensor]) -> BeforeLayer:
    """Hook for the image encoder's x = [CLS, patches, P], otherwise as `replace_text`."""

    def before_layer(i, x):
        if not 1 <= i <= len(prompts):
            return x
        new = prompts[i - 1].to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([x[:, : -new.shape[1]], new], dim=1)

    return before_layer


def insert_text(tokens: Sequence[torch.Tensor], first: int, share: Optional[torch.Tensor] = None) -> BeforeLayer:
    """Hook for the text encoder's x = [SOS, ...]: tokens[0] (m, width) enters behind SOS before layer `first`.

    Before the layers that follow, tokens[1], tokens[2], ... take the place of what stands there; with `share`, of 0 to
    1, the place of so much of it.
    """

    def before_layer(i, x):
        if not first <= i < first + len(tokens):
            return x
        new = tokens[i - first]
        if i == first:
            return x.insert(1, new)
        if share is not None:  # they see SOS and each other alone, and so are the same in every sequence
            new = share * new + (1 - share) * x.read(1, 1 + len(new))[0]
        return x.replace(1, new)

    return before_layer


def insert_image(tokens: Sequence[torch.Tensor], first: int, share: Optional[torch.Tensor] = None) -> BeforeLayer:
    """Hook for the image encoder's x = [CLS, patches], which becomes [CLS, tokens, patches]; as `insert_text`."""

    def before_layer(i, x):
        if not first <= i < first + len(tokens):
            return x
        new = tokens[i - first].to(x.dtype).expand(x.shape[0], -1, -1)
        if i == first:
            return torch.cat([x[:, :1], new, x[:, 1:]], dim=1)
        stop = 1 + new.shape[1]
        if share is not None:
            new = (share * new + (1 - share) * x[:, 1:stop]).to(x.dtype)
        return torch.cat([x[:, :1], new, x[:, stop:]], dim=1)

    return before_layer
