"""Walks through the blocks of a stock CLIP's two encoders, with a hook before each layer.

A hook is `before_layer(i, x) -> x`, called with the layer's number (from 0) and its input x (batch, length, width);
what it returns goes into the layer.
"""

from contextlib import contextmanager
from typing import Callable, Optional

import torch
from torch import nn
from torch.nn import functional as F

BeforeLayer = Callable[[int, torch.Tensor], torch.Tensor]


def attention(attn, query, key, value, causal=False):
    """Multi-head attention over dim 1, with the weights of an `nn.MultiheadAttention`.

    query (batch, n, width), key and value (batch, m, width) -> (batch, n, width).
    """
    heads = attn.num_heads
    weights, biases = attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (heads, -1)).transpose(1, 2)  # (batch, heads, length, width / heads)
        for x, w, b in zip((query, key, value), weights, biases)
    )
    x = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return attn.out_proj(x.transpose(1, 2).flatten(2))


def _walk(blocks, x: torch.Tensor, before_layer: Optional[BeforeLayer], causal: bool) -> torch.Tensor:
    for i, block in enumerate(blocks):
        if before_layer is not None:
            x = before_layer(i, x)
        h = block.ln_1(x)
        x = x + attention(block.attn, h, h, h, causal)
        x = x + block.mlp(block.ln_2(x))
    return x


class TextEncoder(nn.Module):
    """CLIP's text encoder from embedded sequences on."""

    def __init__(self, clip_model):
        super().__init__()
        self.transformer = clip_model.transformer
        self.positional_embedding = clip_model.positional_embedding
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection

    @property
    def n_layers(self):
        return len(self.transformer.resblocks)

    @property
    def width(self):
        return self.positional_embedding.shape[1]

    def forward(self, x: torch.Tensor, eos: torch.Tensor, before_layer: Optional[BeforeLayer] = None) -> torch.Tensor:
        """x (n, length, width), eos (n,) the position to read -> features (n, dim), not normalised."""
        dtype = self.text_projection.dtype
        x = (x + self.positional_embedding[: x.shape[1]]).to(dtype)
        x = _walk(self.transformer.resblocks, x, before_layer, causal=True)
        x = x[torch.arange(len(x), device=x.device), eos]
        return self.ln_final(x) @ self.text_projection


class ImageEncoder(nn.Module):
    """CLIP's image encoder; a ViT can take appended tokens and a hook, a ResNet only images."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual
        self._known = None, None  # images, and what gives their features

    @property
    def is_vit(self):
        return hasattr(self.visual, "transformer")

    @property
    def n_layers(self):
        return len(self.visual.transformer.resblocks)

    @property
    def width(self):
        return self.visual.conv1.weight.shape[0]

    @contextmanager
    def known(self, image: torch.Tensor, features: Optional[Callable[[torch.Tensor], torch.Tensor]]):
        """Inside, the plain pass of `image` (without tokens and hook) is features(image); None: it is as ever."""
        self._known = image, features
        try:
            yield
        finally:
            self._known = None, None

    def forward(
        self,
        image: torch.Tensor,
        tokens: Optional[torch.Tensor] = None,
        before_layer: Optional[BeforeLayer] = None,
    ) -> torch.Tensor:
        """As `encode`, but for images whose plain pass is known."""
        known, features = self._known
        if image is known and features is not None and tokens is None and before_layer is None:
            return features(image)
        return self.encode(image, tokens, before_layer)

    def encode(
        self,
        image: torch.Tensor,
        tokens: Optional[torch.Tensor] = None,
        before_layer: Optional[BeforeLayer] = None,
    ) -> torch.Tensor:
        """image (batch, 3, H, W) -> features (batch, dim), not normalised.

        tokens (m, width) are appended to every image's sequence [CLS, patches] behind the position embeddings
        and before ln_pre; they have no position of their own.
        """
        if image.shape[1] == 0:
            raise RuntimeError("these images were not read: PromptedCLIP.reads_pixels must say that they are needed")
        visual = self.visual
        image = image.to(visual.conv1.weight.dtype)
        if not self.is_vit:
            return visual(image)
        x = visual.conv1(image).flatten(2).transpose(1, 2)  # (batch, patches, width)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = x + visual.positional_embedding.to(x.dtype)
        if tokens is not None:
            x = torch.cat([x, tokens.to(x.dtype).expand(len(x), -1, -1)], dim=1)
        x = visual.ln_pre(x)
        x = _walk(visual.transformer.resblocks, x, before_layer, causal=False)
        return visual.ln_post(x[:, 0]) @ visual.proj
