"""Walks through the blocks of a stock CLIP's two encoders, with a hook before each layer.

A hook is `before_layer(i, x) -> x`, called with the layer's number (from 0) and its input, for images a tensor
(batch, length, width), for text `TextTokens`; what it returns goes into the layer. Of the last layer nothing is
computed but the tokens whose features are read.
"""

import os
from contextlib import contextmanager
from typing import Any, Callable, Optional

import torch
from torch import nn
from torch.nn import functional as F

from .compat import RECOMPUTES, plain_attention, recompute, scaled_dot_product_attention
from .text_tokens import TextTokens

BeforeLayer = Callable[[int, Any], Any]


def memory_limit(device: torch.device) -> int:
    """Bytes that a pass through the text encoder may keep: a quarter of the device's memory (our choice).

    Not of what is free, which differs from one moment to the next: so would the passes, and with them the last bits of
    the same run done twice.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 4
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def project(attn, x, part):
    """What an `nn.MultiheadAttention` makes of x: its query, key or value (part 0, 1, 2), of the shape of x."""
    return F.linear(x, attn.in_proj_weight.chunk(3)[part], attn.in_proj_bias.chunk(3)[part])


def attend(heads, query, key, value, causal=False, seen=None):
    """Attention over dim 1: query (batch, n, width), key and value (batch, m, width) -> (batch, n, width).

    causal: query i sees the keys up to m - n + i.  seen: (batch, m), the keys that all queries see.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    n, m = query.shape[1], key.shape[1]
    mask = None if seen is None else seen[:, None, None]
    if causal and n < m:
        mask = torch.ones(n, m, dtype=torch.bool, device=q.device).tril(m - n)
    # On a CPU in 16 bits the gradients of the fused kernel take half of a step on text (docs/performance.md)
    text = causal or seen is not None
    plain = text and q.device.type == "cpu" and q.dtype != torch.float32
    attention = plain_attention if plain else scaled_dot_product_attention
    x = attention(q, k, v, attn_mask=mask, is_causal=causal and n == m)
    return x.transpose(1, 2).flatten(2)


def _finish(block, x, mixed):
    """The rest of a block: x and what attention has mixed, of one shape."""
    x = x + block.attn.out_proj(mixed)
    return x + block.mlp(block.ln_2(x))


class TextEncoder(nn.Module):
    """CLIP's text encoder from embedded prompt sequences on."""

    def __init__(self, clip_model, chunk=0):
        """chunk: most sequences in a pass; 0: as many as fit into `memory_limit`."""
        super().__init__()
        self.chunk = chunk
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

    def forward(self, tokens: TextTokens, before_layer: Optional[BeforeLayer] = None) -> torch.Tensor:
        """n sequences -> their features (n, dim), not normalised, in the order of their numbers.

        In training, several passes are recomputed in the backward one instead of being kept, which bounds memory.
        """
        most = self.chunk or self._chunk(tokens, before_layer)
        again = most < len(tokens.rows) and RECOMPUTES and torch.is_grad_enabled()
        features = [
            recompute(self._encode, part, before_layer) if again else self._encode(part, before_layer)
            for part in tokens.parts(most)
        ]
        return torch.cat(features)[tokens.rows.argsort()]

    def _chunk(self, tokens, before_layer):
        """How many sequences fit, if nothing is known of the hook but that it may end all sharing."""
        positions = sum(n * length for n, length in zip(*tokens.groups))
        kept = 14 * (positions if before_layer is not None else len(tokens.x)) + 2 * positions  # times width: counted
        layers = self.n_layers if torch.is_grad_enabled() else 2
        need = layers * self.width * self.text_projection.element_size() * kept
        n = len(tokens.rows)
        return max(1, min(n, n * memory_limit(tokens.x.device) // need))

    def _encode(self, tokens, before_layer):
        x = tokens.x + tokens.places(self.positional_embedding)
        tokens = tokens._replace(x=x.to(self.text_projection.dtype))
        *layers, last = self.transformer.resblocks
        for i, block in enumerate(layers):
            tokens = self._layer(block, tokens if before_layer is None else before_layer(i, tokens))
        x = self._last_layer(last, tokens if before_layer is None else before_layer(len(layers), tokens))
        return self.ln_final(x) @ self.text_projection

    @staticmethod
    def _layer(block, tokens):
        attn, h = block.attn, block.ln_1(tokens.x)
        (q, queries), (k, keys), (v, values) = (tokens.split(project(attn, h, part)) for part in range(3))
        heads = attn.num_heads
        mixed = [attend(heads, q, k, v, causal=True)]
        for query, key, value, *begin in zip(queries, keys, values, tokens.each(k), tokens.each(v)):
            key, value = (torch.cat(both, dim=1) for both in zip(begin, (key, value)))
            mixed.append(attend(heads, query, key, value, causal=True))
        mixed = torch.cat([m.flatten(0, 1) for m in mixed])
        return tokens._replace(x=_finish(block, tokens.x, mixed))

    @staticmethod
    def _last_layer(block, tokens):
        """The outputs that are read, (n, width)."""
        attn, h, ends = block.attn, block.ln_1(tokens.x), tokens.ends()
        queries = project(attn, h[ends], 0).unsqueeze(1).split(tokens.groups.counts)
        (k, keys), (v, values) = (tokens.split(project(attn, h, part)) for part in (1, 2))
        mixed = []
        eos = tokens.eos.split(tokens.groups.counts)
        for query, key, value, end, *begin in zip(queries, keys, values, eos, tokens.each(k), tokens.each(v)):
            key, value = (torch.cat(both, dim=1) for both in zip(begin, (key, value)))
            seen = torch.arange(key.shape[1], device=end.device) <= end[:, None]
            mixed.append(attend(attn.num_heads, query, key, value, seen=seen))
        return _finish(block, tokens.x[ends], torch.cat(mixed).squeeze(1))


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
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        x = x + visual.positional_embedding.to(x.dtype)
        if tokens is not None:
            x = torch.cat([x, tokens.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
        x = visual.ln_pre(x)
        *layers, last = visual.transformer.resblocks
        for i, block in enumerate(layers):
            x = self._layer(block, x if before_layer is None else before_layer(i, x))
        x = self._layer(last, x if before_layer is None else before_layer(len(layers), x), n_read=1)
        return visual.ln_post(x[:, 0]) @ visual.proj

    @staticmethod
    def _layer(block, x, n_read=None):
        """x (batch, length, width) -> the outputs of its first `n_read` tokens (default: of all)."""
        h = block.ln_1(x)
        key, value = (project(block.attn, h, part) for part in (1, 2))
        mixed = attend(block.attn.num_heads, project(block.attn, h[:, :n_read], 0), key, value)
        return _finish(block, x[:, :n_read], mixed)
