"""Coupled prompts: tokens in the first layers of both encoders, those for images linear functions of those for text.

MaPLe's (arXiv 2210.03117, section 3.2), which CoPrompt (arXiv 2306.01195) has too.
"""

import copy

import torch
from torch import nn

from .deep_prompts import check_depth, first_prompts, random_prompts, replace_image, replace_text
from .prompt_text import PromptSequences


class CoupledPrompts(nn.Module):
    """Prompts P_0 .. P_(J-1) of the text encoder, and F_0(P_0) .. F_(J-1)(P_(J-1)) of the image encoder.

    Args:
        node: the method's config node with its sections ("TRAINER.MAPLE"), for errors.
        options: that node, which has N_CTX, CTX_INIT and PROMPT_DEPTH (J).
    """

    def __init__(self, node, options, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        n_ctx, depth, width = options.N_CTX, options.PROMPT_DEPTH, text_encoder.width
        # A pair of coupled prompts needs its layer in both encoders
        check_depth(f"{node}.PROMPT_DEPTH", depth, min(text_encoder.n_layers, image_encoder.n_layers))
        ctx, words = first_prompts(f"{node}.N_CTX", clip_model, n_ctx, options.CTX_INIT)
        print(f'Initial context: "{words}", of which the first {n_ctx} tokens are learned; prompts in {depth} layers')
        self.ctx = nn.Parameter(ctx)  # P_0 (n_ctx, width)
        self.deep_ctx = random_prompts(depth - 1, n_ctx, width)  # P_1 .. P_(J-1)
        # F_0 .. F_(J-1); the deep ones start as copies of one (authors' code)
        first, deep = (nn.Linear(width, image_encoder.width) for _ in range(2))
        self.couplings = nn.ModuleList([first, *(copy.deepcopy(deep) for _ in range(depth - 1))])
        self.sequences = PromptSequences(clip_model, classnames, words, n_ctx, key=f"{node}.N_CTX")

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, width)

    def visual(self):
        """F_i(P_i), a list of (n_ctx, width of the image encoder)."""
        return [f(p) for f, p in zip(self.couplings, [self.ctx, *self.deep_ctx])]

    def encode_image(self, encoder, image: torch.Tensor) -> torch.Tensor:
        """image (B, 3, H, W) -> features (B, dim), not normalised."""
        first, *deep = self.visual()
        return encoder(image, first, replace_image(deep))

    def encode_text(self, encoder) -> torch.Tensor:
        """Features of the classes (n_cls, dim), not normalised."""
        return encoder(self(), replace_text(self.deep_ctx))
