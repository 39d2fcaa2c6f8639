"""A block of either of CLIP's encoders in few kernels: at the papers' batch sizes, launching them is what a GPU does.

A block is frozen, so that its gradients are those of its input alone.
"""

from typing import Callable, Optional

import torch
from torch import nn
from torch.nn import functional as F

Beside = Callable[[int, str, torch.Tensor], Optional[torch.Tensor]]

QUICK = 1.702  # QuickGELU(u) = u sigmoid(QUICK u) = silu(QUICK u) / QUICK


class QuickMlp(torch.autograd.Function):
    """(x, W_1, QUICK b_1, W_2, b_2) -> W_2 QuickGELU(W_1 x + b_1) + b_2, by one kernel for the activation.

    x is (n, width), the others are frozen. The products multiply by QUICK and divide by it, which costs nothing; for
    the gradients, the two cancel.
    """

    @staticmethod
    def forward(ctx, x, w_1, b_1, w_2, b_2):
        u = torch.addmm(b_1, x, w_1.t(), alpha=QUICK)  # QUICK times the hidden values
        ctx.save_for_backward(u, w_1, w_2)
        return torch.addmm(b_2, F.silu(u), w_2.t(), alpha=1 / QUICK)

    @staticmethod
    def backward(ctx, grad):
        u, w_1, w_2 = ctx.saved_tensors
        hidden = torch.ops.aten.silu_backward(grad @ w_2.to(grad.dtype), u)  # under autocast, weights are wider
        return hidden @ w_1.to(hidden.dtype), None, None, None, None


class Constants(nn.Module):
    """What is made of a block's weights once; it belongs to the block, so checkpoints and checksums leave it out."""

    def __init__(self, block):
        super().__init__()
        mlp, weights = block.mlp, list(block.mlp.parameters())
        kinds = [type(part).__name__ for part in mlp.children()]
        frozen = not any(weight.requires_grad for weight in weights)
        bias = None
        if kinds == ["Linear", "QuickGELU", "Linear"] and frozen and len(weights) == 4:
            bias = (QUICK * weights[1].detach().float()).to(weights[1].dtype)
        self.register_buffer("b_1", bias, persistent=False)


class Layer:
    """A block, its number, and what runs beside its parts."""

    def __init__(self, block, constants, number, beside):
        self.block, self.constants = block, constants
        self.heads, self.number, self.beside = block.attn.num_heads, number, beside

    def normed(self, x):
        return self.block.ln_1(x)

    def project(self, h, parts="qkv"):
        """What attention makes of h (..., width), side by side: queries, keys and values, or neighbours of them."""
        attn, width = self.block.attn, h.shape[-1]
        rows = slice("qkv".index(parts[0]) * width, ("qkv".index(parts[-1]) + 1) * width)
        out = F.linear(h, attn.in_proj_weight[rows], attn.in_proj_bias[rows])
        more = [None if self.beside is None else self.beside(self.number, part, h) for part in parts]
        if all(each is None for each in more):
            return out
        return out + torch.cat([torch.zeros_like(h) if each is None else each for each in more], dim=-1)

    def finish(self, x, h, mixed):
        """The rest of it: its input x, h = ln_1(x), and what attention has mixed, of one shape."""
        x = x + self._with("o", mixed, self.block.attn.out_proj(mixed))
        return self._with("block", h, x + self._mlp(self.block.ln_2(x)))

    def _mlp(self, x):
        mlp, b_1 = self.block.mlp, self.constants.b_1
        if b_1 is None:
            return mlp(x)
        first, _, second = mlp.children()
        out = QuickMlp.apply(x.flatten(0, -2), first.weight, b_1, second.weight, second.bias)
        return out.unflatten(0, x.shape[:-1])

    def _with(self, part, x, out):
        more = None if self.beside is None else self.beside(self.number, part, x)
        return out if more is None else out + more


def constants_of(transformer):
    """Of all blocks of a transformer."""
    return nn.ModuleList([Constants(block) for block in transformer.resblocks])


def layers_of(transformer, constants, beside):
    return [Layer(*of, i, beside) for i, of in enumerate(zip(transformer.resblocks, constants))]
