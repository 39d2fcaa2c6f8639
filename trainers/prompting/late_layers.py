"""The last layers of CLIP's two encoders as what a method learns, behind the outputs of layers that stay frozen.

A method gives its prompt learner a `LateText` and a `LateImage`, calls each through `InTypes`, and says by
`PromptedCLIP.frozen_layers` how many layers are left as they are, so that a store may keep what comes out of those.
"""

import copy
from typing import Any, Dict, Union

import torch
from torch import nn

from .encoders import ImageEncoder, TextEncoder
from .text_tokens import TextTokens

Types = Dict[str, torch.dtype]  # name of a parameter -> its type


class _Copies(nn.Module):
    """Of a part of CLIP the layers from number `first` on, under the same numbers, and what is named in `rest`."""

    positional_embedding = None

    def __init__(self, part, first, rest):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList()
        for i, block in enumerate(part.transformer.resblocks):
            if i >= first:
                self.transformer.resblocks.add_module(str(i), copy.deepcopy(block))
        for name in rest:
            setattr(self, name, copy.deepcopy(getattr(part, name)))


class LateText(TextEncoder):
    """A text encoder from layer `first` on, in copies that learn, float32: outputs of the layers before -> features.

    types: those that the parameters have in `encoder`.
    """

    types: Types

    def __init__(self, encoder: TextEncoder, first: int):
        super().__init__(_Copies(encoder, first, ("ln_final", "text_projection")), encoder.chunk)
        _learn(self)

    @property
    def width(self):
        return self.text_projection.shape[0]

    def embedded(self, tokens: TextTokens) -> TextTokens:
        return tokens


class LateImage(ImageEncoder):
    """The same of a ViT: (batch, length, width) -> features (batch, dim), not normalised."""

    types: Types

    def __init__(self, encoder: ImageEncoder, first: int):
        super().__init__(_Copies(encoder.visual, first, ("ln_post", "proj")))
        _learn(self)

    @property
    def width(self):
        return self.visual.proj.shape[0]

    def embedded(self, image: torch.Tensor, tokens: None = None) -> torch.Tensor:
        return image.to(self.visual.proj.dtype)


def _learn(module):
    module.types = {name: parameter.dtype for name, parameter in module.named_parameters()}
    module.float().requires_grad_()
    module.constants = None  # which are made of weights that stay


class InTypes:
    """A `LateText` or `LateImage`, float32, that computes in its `types`; its parameters get the gradients.

    Each call casts them: kept in halves, they would not move at the learning rates of whole layers.
    """

    def __init__(self, module: Union[LateText, LateImage]):
        self.module = self.twin = module
        if any(module.types[name] != parameter.dtype for name, parameter in module.named_parameters()):
            self.twin = copy.deepcopy(module)
            for name, _ in module.named_parameters():
                owner, leaf = _place(self.twin, name)
                delattr(owner, leaf)

    def __call__(self, *args: Any) -> Any:
        if self.twin is not self.module:
            for name, parameter in self.module.named_parameters():
                owner, leaf = _place(self.twin, name)
                setattr(owner, leaf, parameter.to(self.module.types[name]))
        return self.twin(*args)


def _place(module, name):
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round the parameters to float16's numbers, but those of layer norms: as OpenAI's CLIP keeps them on a GPU."""
    for part in module.modules():
        if not isinstance(part, nn.LayerNorm):
            for parameter in part.parameters(recurse=False):
                parameter.copy_(parameter.half())
