"""A block of either of CLIP's encoders in few kernels: at the papers' batch sizes, launching them is what a GPU does.

A block is frozen, so that its gradients are those of its input alone.
"""

from typing import Callable, Optional

import torch
from torch import nn
from torch.nn import functional as F

from ..compat import FUSES

Beside = Callable[[int, str, torch.Tensor], Optional[torch.Tensor]]

QUICK = 1.702  # QuickGELU(u) = u sigmoid(QUICK u) = silu(QUICK u) / QUICK


class QuickMlp(torch.autograd.Function):
    """(x, W_1, QUICK b_1, W_2, b_2) -> W_2 QuickGELU(W_1 x + b_1) + b_2, by one kernel for the activation.

    x is (n, width); b_1 and b_2, which may both be None, are frozen. The products multiply by QUICK and divide by it,
    which costs nothing; for the gradients of x and W_1, the two cancel.
    """

    @staticmethod
    def forward(ctx, x, w_1, b_1, w_2, b_2):
        u = _product(x, w_1.t(), QUICK, b_1)  # QUICK times the hidden values
        hidden, trained = F.silu(u), ctx.needs_input_grad[1]
        ctx.save_for_backward(u, w_1, w_2, *([x, hidden] if trained else []))
        return _product(hidden, w_2.t(), 1 / QUICK, b_2)

    @staticmethod
    def backward(ctx, grad):
        u, w_1, w_2, *rest = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # under autocast, some are wider
        of_u = torch.ops.aten.silu_backward(grad @ w_2, u)
        of_x = of_u @ w_1 if ctx.needs_input_grad[0] else None
        if not rest:
            return of_x, None, None, None, None
        x, hidden = rest
        return of_x, of_u.t() @ x, None, _product(grad.t(), hidden, 1 / QUICK), None


def quick_mlp(x, *weights):
    """As `QuickMlp`, of (..., width); without gradients plain functions, which programs can be exported of."""
    flat = x.flatten(0, -2)
    if torch.is_grad_enabled():
        return QuickMlp.apply(flat, *weights).view(*x.shape[:-1], -1)
    w_1, b_1, w_2, b_2 = weights
    hidden = F.silu(_product(flat, w_1.t(), QUICK, b_1))
    return _product(hidden, w_2.t(), 1 / QUICK, b_2).view(*x.shape[:-1], -1)


def _product(a, b, factor, bias=None):
    """factor a b + bias"""
    return torch.addmm(b[0] if bias is None else bias, a, b, beta=0 if bias is None else 1, alpha=factor)


def _as_then(then, now):
    """Whether weights are still those that something was made of: not others in their place, and not learned."""
    return all(a is b and not b.requires_grad for a, b in zip(then, now))


class Norm(nn.Module):
    """A layer norm of CLIP's in one kernel: CLIP's own casts to float32 and back, and PyTorch's computes in float32.

    PyTorch's has one type for input and weights on a GPU, so in 16 bits it needs the weights in 16 bits, too. They
    belong to the norm: checkpoints and checksums leave them out.
    """

    def __init__(self, norm, dtype):
        super().__init__()
        for name, weight in (("weight", norm.weight), ("bias", norm.bias)):
            self.register_buffer(name, weight.detach().to(dtype), persistent=False)
        self._made_of = (norm.weight, norm.bias)

    def forward(self, norm, x):
        if not FUSES or x.dtype == norm.weight.dtype or x.dtype != self.weight.dtype:
            return norm(x)
        if not _as_then(self._made_of, (norm.weight, norm.bias)):
            return norm(x)
        return F.layer_norm(x, norm.normalized_shape, self.weight, self.bias, norm.eps)


class Constants(nn.Module):
    """What is made of a block's weights once; it belongs to the block, so checkpoints and checksums leave it out."""

    def __init__(self, block):
        super().__init__()
        weights, bias = tuple(block.mlp.parameters()), None
        kinds = [type(part).__name__ for part in block.mlp.children()]
        if FUSES and kinds == ["Linear", "QuickGELU", "Linear"] and len(weights) == 4:
            bias = (QUICK * weights[1].detach().float()).to(weights[1].dtype)
        self.register_buffer("b_1", bias, persistent=False)
        self._made_of = weights
        dtype = weights[0].dtype
        self.ln_1, self.ln_2 = Norm(block.ln_1, dtype), Norm(block.ln_2, dtype)

    def are_of(self, mlp):
        """Whether `b_1` may stand for its bias: a copy of an encoder may have weights of its own, which learn."""
        if self.b_1 is None:
            return False
        first, _, second = mlp.children()
        return _as_then(self._made_of, (first.weight, first.bias, second.weight, second.bias))


class Layer:
    """A block, its number, and what runs beside its parts."""

    def __init__(self, block, constants, number, beside):
        self.block, self.constants = block, constants
        self.heads, self.number, self.beside = block.attn.num_heads, number, beside

    def normed(self, x):
        return self._norm("ln_1", x)

    def project(self, h, parts="qkv", asked="qkv"):
        """What attention makes of h (..., width), side by side: queries, keys and values, or neighbours of them.

        asked: the order in which what runs beside them is called, by which dropout draws.
        """
        attn, width = self.block.attn, h.shape[-1]
        rows = slice("qkv".index(parts[0]) * width, ("qkv".index(parts[-1]) + 1) * width)
        out = F.linear(h, attn.in_proj_weight[rows], attn.in_proj_bias[rows])
        if self.beside is None:
            return out
        more = {part: self.beside(self.number, part, h) for part in asked if part in parts}
        if all(each is None for each in more.values()):
            return out
        return out + torch.cat([torch.zeros_like(h) if more[part] is None else more[part] for part in parts], dim=-1)

    def finish(self, x, h, mixed):
        """The rest of it: its input x, h = ln_1(x), and what attention has mixed, of one shape."""
        x = x + self._with("o", mixed, self.block.attn.out_proj(mixed))
        return self._with("block", h, x + self._mlp(self._norm("ln_2", x)))

    def _norm(self, name, x):
        return getattr(self.constants, name)(getattr(self.block, name), x)

    def _mlp(self, x):
        mlp = self.block.mlp
        if not self.constants.are_of(mlp):
            return mlp(x)
        first, _, second = mlp.children()
        return quick_mlp(x, first.weight, self.constants.b_1, second.weight, second.bias)

    def _with(self, part, x, out):
        more = None if self.beside is None else self.beside(self.number, part, x)
        return out if more is None else out + more


def constants_of(transformer):
    """Of all blocks of a transformer."""
    return nn.ModuleList([Constants(block) for block in transformer.resblocks])


def layers_of(transformer, constants, beside):
    return [Layer(*of, i, beside) for i, of in enumerate(zip(transformer.resblocks, constants))]
