"""Walks through the blocks of a stock CLIP's two encoders, with hooks before each layer and beside its parts.

A hook is `before_layer(i, x) -> x`, called with the layer's number (from 0) and its input, for images a tensor
(batch, length, width), for text `TextTokens`; what it returns goes into the layer. Of the last layer nothing is
computed but the tokens whose features are read. A hook that keeps more for the gradients than what it returns has a
method `kept(n)`: the bytes of that, in all layers, for n sequences.

What changes a layer itself is `beside(i, part, x) -> y or None`: it gets the input of one of the layer's parts, and y,
of the shape of that part's output, is added to it. The parts are attention's linear maps "q", "k", "v" and "o", and
"block", the whole layer, whose input is ln_1's output. It must act on each token by itself: x is (..., width), of some
of the tokens, in no order to rely on.
"""

import functools
import math
import os
from typing import Any, Callable, Dict, Optional

import torch
from torch import nn

from ..compat import RECOMPUTES, plain_attention, recompute, scaled_dot_product_attention
from ..errors import UserError
from .image_batch import Image, ImageBatch, pixels_of
from .layers import Beside, layers_of
from .text_tokens import TextTokens, joined

BeforeLayer = Callable[[int, Any], Any]

# How many vectors of its width a layer keeps of each token for the gradients (counted): as it is, and at most with
# something beside it, low-rank updates of q, k and v with dropout
KEPT, KEPT_BESIDE = 10, 16

_MEMORY: Dict[str, int] = {}  # kind of device -> bytes


def memory_limit(device: torch.device) -> int:
    """Bytes that a pass through the text encoder may keep: a quarter of the device's memory (our choice).

    Of all memory and not of what is free, which differs from one moment to the next: so would the number of passes, and
    with it the last bits of the same run done twice.
    """
    kind = device.type
    if kind not in _MEMORY:  # asked once: a compiler that follows a step cannot follow the question
        of_host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        _MEMORY[kind] = torch.cuda.get_device_properties(device).total_memory if kind == "cuda" else of_host
    return _MEMORY[kind] // 4


class CausalMasks:
    """The masks of a pass through the text encoder, each made once."""

    def __init__(self):
        self.made = {}

    def of(self, n, m, like):
        """What is added to scores (n, m), of the type of `like`: -inf where query i would see keys behind m - n + i."""
        if (n, m, like.dtype) not in self.made:
            columns = m + -m % 8  # a GPU's fused attention takes rows as they are if they lie a multiple of 8 apart
            mask = torch.full((n, columns), -math.inf, device=like.device).triu(1 + m - n)
            self.made[n, m, like.dtype] = mask.to(like.dtype)[:, :m]
        return self.made[n, m, like.dtype]


def attend(heads, query, keys_values, masks=None, visible=None):
    """Attention over dim 1: query (batch, n, width), keys and values (batch, m, 2 width) -> (batch, n, width).

    masks: `CausalMasks`, if query i attends to the keys up to m - n + i alone.
    visible: (batch, m), true at keys that queries attend to.
    """
    key, value = keys_values.chunk(2, dim=-1)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    n, m = query.shape[1], key.shape[1]
    mask = None if visible is None else visible[:, None, None]
    # On a CPU in 16 bits the gradients of the fused kernel take half of a step on text (docs/performance.md)
    text = masks is not None or visible is not None
    plain = text and q.device.type == "cpu" and q.dtype != torch.float32
    attention = plain_attention if plain else scaled_dot_product_attention
    causal = masks is not None and n == m and not plain
    if masks is not None and not causal:
        mask = masks.of(n, m, q)
    x = attention(q, k, v, attn_mask=mask, is_causal=causal)
    return x.transpose(1, 2).flatten(2)


def apart(projected):
    """(..., 3 width) -> queries (..., width), and keys and values (..., 2 width)."""
    width = projected.shape[-1] // 3
    return projected.split([width, 2 * width], dim=-1)


def chosen_layers(key, layers, depth, deepest, first=0):
    """The layers of an encoder of `depth` layers that config key `key` means by `layers`; by none, all from `first`.

    deepest: the depth of the deeper encoder; a layer that it alone has is none of the other's.
    Raises UserError for layers that neither has.
    """
    wrong = [i for i in layers if i >= deepest]
    if wrong:
        raise UserError(f"{key} names {wrong}, but this backbone has layers 0 to {deepest - 1}: leave out the others.")
    return [i for i in sorted(layers) if i < depth] if layers else list(range(first, depth))


def check_layer(key, layer, n_layers):
    """Raise UserError if config key `key`, a layer from 0 on, is none of a backbone's `n_layers`."""
    if layer >= n_layers:
        raise UserError(f"{key} is {layer}, but this backbone has layers 0 to {n_layers - 1}: choose one of them.")


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

    def forward(
        self,
        tokens: TextTokens,
        before_layer: Optional[BeforeLayer] = None,
        beside: Optional[Beside] = None,
        first: Optional[int] = None,
    ) -> torch.Tensor:
        """n sequences -> their features (n, dim), not normalised, in the order of their numbers.

        first: the number of the layer that `tokens` enter, if they are what `first_layers` gives.
        In training, several passes are recomputed in the backward one instead of being kept, which bounds memory.
        """
        most = self.chunk or self._chunk(tokens, before_layer, beside)
        again = most < len(tokens.rows) and RECOMPUTES and torch.is_grad_enabled()
        encode = self._encode if first is None else functools.partial(self._encode, first=first)
        features = [
            recompute(encode, before_layer, beside, *part) if again else encode(before_layer, beside, *part)
            for part in tokens.parts(most)
        ]
        features = joined(features)
        return torch.empty_like(features).index_copy_(0, tokens.rows, features)

    def _chunk(self, tokens, before_layer, beside=None):
        """How many sequences a pass may have. With a hook, which may end all sharing, every position is a token."""
        positions = sum(n * length for n, length in zip(*tokens.groups))
        each = KEPT if beside is None else KEPT_BESIDE
        vectors = each * (positions if before_layer is not None else len(tokens.x)) + 2 * positions  # counted
        layers = self.n_layers if torch.is_grad_enabled() else 2
        need, n = layers * vectors * self.width * self.text_projection.element_size(), len(tokens.rows)
        if torch.is_grad_enabled() and hasattr(before_layer, "kept"):
            need += before_layer.kept(n)
        return max(1, min(n, n * memory_limit(tokens.x.device) // need))

    def embedded(self, tokens: TextTokens) -> TextTokens:
        """The sequences as they enter the first layer."""
        x = tokens.x + tokens.places(self.positional_embedding)
        return tokens._replace(x=x.to(self.text_projection.dtype))

    def first_layers(self, tokens: TextTokens, n: int) -> TextTokens:
        """What comes out of the first `n` layers, of every token."""
        tokens, masks = self.embedded(tokens), CausalMasks()
        for layer in layers_of(self.transformer, None, slice(n)):
            tokens = self._layer(layer, tokens, masks)
        return tokens

    def _encode(self, before_layer, beside, *tokens, first=None):
        tokens = TextTokens(*tokens)  # one by one, since recomputing looks for a GPU among its arguments alone
        tokens = self.embedded(tokens) if first is None else tokens
        *layers, last = layers_of(self.transformer, beside, slice(first, None))
        masks = CausalMasks()
        for layer in layers:
            tokens = tokens if before_layer is None else before_layer(layer.number, tokens)
            tokens = self._layer(layer, tokens, masks)
        x = self._last_layer(last, tokens if before_layer is None else before_layer(last.number, tokens))
        return self.ln_final(x) @ self.text_projection

    @staticmethod
    def _layer(layer, tokens, masks):
        h = layer.normed(tokens.x)
        shared, own = tokens.split(layer.project(h))
        query, begin = apart(shared)
        mixed = [attend(layer.heads, query, begin, masks)]
        for each, begins in zip(own, tokens.each(begin)):
            query, keys_values = apart(each)
            keys_values = torch.cat([begins, keys_values], dim=1)
            mixed.append(attend(layer.heads, query, keys_values, masks))
        mixed = torch.cat([m.flatten(0, 1) for m in mixed])
        return tokens._replace(x=layer.finish(tokens.x, h, mixed))

    @staticmethod
    def _last_layer(layer, tokens):
        """The outputs that are read, (n, width)."""
        x = tokens.x.index_select(0, tokens.ends())
        h, mixed = layer.normed(x), []
        queries = layer.project(h, "q").unsqueeze(1).split(tokens.groups.counts)
        shared, own = tokens.split(layer.project(layer.normed(tokens.x), "kv"))
        eos = tokens.eos.split(tokens.groups.counts)
        for query, keys_values, end, begins in zip(queries, own, eos, tokens.each(shared)):
            keys_values = torch.cat([begins, keys_values], dim=1)
            visible = torch.arange(keys_values.shape[1], device=end.device) <= end[:, None]
            mixed.append(attend(layer.heads, query, keys_values, visible=visible))
        return layer.finish(x, h, joined(mixed).squeeze(1))


class ImageEncoder(nn.Module):
    """CLIP's image encoder; a ViT can take appended tokens and a hook, a ResNet only images."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual

    @property
    def is_vit(self):
        return hasattr(self.visual, "transformer")

    @property
    def n_layers(self):
        return len(self.visual.transformer.resblocks)

    @property
    def width(self):
        return self.visual.conv1.weight.shape[0]

    def forward(
        self,
        image: Image,
        tokens: Optional[torch.Tensor] = None,
        before_layer: Optional[BeforeLayer] = None,
        beside: Optional[Beside] = None,
    ) -> torch.Tensor:
        """image (batch, 3, H, W) -> features (batch, dim), not normalised; those that are known are not computed.

        tokens (m, width) are appended to every image's sequence [CLS, patches] behind the position embeddings
        and before ln_pre; they have no position of their own.
        """
        plain = tokens is None and before_layer is None and beside is None
        if plain and isinstance(image, ImageBatch) and image.features is not None:
            return image.features(image.pixels)
        if not self.is_vit:
            return self.visual(self._pixels(image))
        return self.outputs(image, tokens, before_layer, beside)[:, 0] @ self.visual.proj

    def outputs(
        self,
        image: Image,
        tokens: Optional[torch.Tensor] = None,
        before_layer: Optional[BeforeLayer] = None,
        beside: Optional[Beside] = None,
        n_read: int = 1,
    ) -> torch.Tensor:
        """As `forward`, but a ViT's outputs at its first `n_read` tokens behind ln_post: (batch, n_read, width)."""
        return self._layers(self.embedded(image, tokens), 0, before_layer, beside, n_read)

    def _layers(self, x, first, before_layer=None, beside=None, n_read=1):
        *layers, last = layers_of(self.visual.transformer, beside, slice(first, None))
        for layer in layers:
            x = self._layer(layer, x if before_layer is None else before_layer(layer.number, x))
        x = self._layer(last, x if before_layer is None else before_layer(last.number, x), n_read)
        return self.visual.ln_post(x)

    def embedded(self, image: Image, tokens: Optional[torch.Tensor] = None) -> torch.Tensor:
        """As `forward`, but what enters a ViT's first layer: (batch, length, width)."""
        visual, image = self.visual, self._pixels(image)
        x = visual.conv1(image).flatten(2).transpose(1, 2)  # (batch, patches, width)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        x = x + visual.positional_embedding.to(x.dtype)
        if tokens is not None:
            x = torch.cat([x, tokens.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
        return visual.ln_pre(x)

    def first_layers(self, image: Image, n: int) -> torch.Tensor:
        """What comes out of a ViT's first `n` layers, of every token: (batch, length, width)."""
        x = self.embedded(image)
        for layer in layers_of(self.visual.transformer, None, slice(n)):
            x = self._layer(layer, x)
        return x

    def last_layers(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """Features, as of `forward`, from what came out of the layers in front of number `first`."""
        return self._layers(x.to(self.visual.proj.dtype), first)[:, 0] @ self.visual.proj

    def _pixels(self, image):
        pixels = pixels_of(image)
        if pixels.shape[1] == 0:
            raise RuntimeError("these images were not read: PromptedCLIP.reads_pixels must say that they are needed")
        return pixels.to(self.visual.conv1.weight.dtype)

    @staticmethod
    def _layer(layer, x, n_read=None):
        """x (batch, length, width) -> the outputs of its first `n_read` tokens (default: of all)."""
        h = layer.normed(x)
        if n_read is None:
            query, keys_values = apart(layer.project(h, asked="kvq"))
        else:
            x, keys_values = x[:, :n_read], layer.project(h, "kv")
            h = h[:, :n_read]
            query = layer.project(h, "q")
        return layer.finish(x, h, attend(layer.heads, query, keys_values))
