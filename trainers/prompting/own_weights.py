"""Weights of a frozen encoder that learn: layer norms, biases, whole layers.

The encoder stays as it is, with its stored features. What learns is a second set of values under the same names, and a
pass goes through a copy of the encoder that has these in their places and shares all else with it.
"""

from collections import defaultdict
from typing import Callable, Dict, Mapping

import torch
from torch import nn


class OwnWeights(nn.Module):
    """A second set of an encoder's weights, float32, which starts as the encoder's.

    Args:
        fits: of the name of one of the encoder's parameters, whether it is one of these.
    """

    def __init__(self, encoder: nn.Module, fits: Callable[[str], bool]):
        super().__init__()
        self.types: Dict[str, torch.dtype] = {}  # in the encoder, by name
        for name, parameter in encoder.named_parameters():
            if fits(name):
                self.types[name] = parameter.dtype
                self._add(name.split("."), nn.Parameter(parameter.detach().float().clone()))

    def _add(self, path, parameter):
        holder = self
        for part in path[:-1]:  # as the encoder's modules, so that checkpoints have the encoder's names
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder._modules[part]
        holder.register_parameter(path[-1], parameter)

    def forward(self, encoder: nn.Module) -> nn.Module:
        """The encoder with these weights, which get the gradients of what it computes."""
        return with_weights(encoder, {name: own.to(self.types[name]) for name, own in self.named_parameters()})


def with_weights(module: nn.Module, values: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy of a module with other values of the weights of these names, in their types; all else is shared."""
    own: Dict[str, torch.Tensor] = {}
    below: Dict[str, Dict[str, torch.Tensor]] = defaultdict(dict)
    for name, value in values.items():
        child, _, rest = name.partition(".")
        if rest:
            below[child][rest] = value
        else:
            there = module._parameters[name]  # None in an exported program, which leaves out what is not read
            own[name] = value if there is None else value.to(there.dtype)
    changed = object.__new__(type(module))  # as copy.copy, which MODEL.CUDA_GRAPHS could not follow
    for key, value in vars(module).items():
        object.__setattr__(changed, key, value)
    if own:
        changed._parameters = {**module._parameters, **own}
    changed._modules = dict(module._modules)
    for child, its_values in below.items():
        changed._modules[child] = with_weights(module._modules[child], its_values)
    return changed
