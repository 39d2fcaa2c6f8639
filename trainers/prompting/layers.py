"""A block of either of CLIP's encoders in few kernels: at the papers' batch sizes, launching them is what a GPU does.

A block is frozen, so that its gradients are those of its input alone.
"""

from typing import Callable, Optional

import torch
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


class Layer:
    """A block, its number, and what runs beside its parts."""

    def __init__(self, block, number, beside):
        self.block = block
        self.heads, self.number, self.beside = block.attn.num_heads, number, beside
        self.dtype = block.attn.in_proj_weight.dtype
        self.b_1 = None  # QUICK times the bias in front of QuickGELU
        self.narrow = {}  # the weights of norms in the layer's type, by name

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
        """Of a norm of CLIP's, which casts to float32 and back, one kernel: PyTorch's own computes in float32."""
        norm = getattr(self.block, name)
        if name not in self.narrow or x.dtype != self.dtype:
            return norm(x)
        return F.layer_norm(x, norm.normalized_shape, *self.narrow[name], norm.eps)

    def _mlp(self, x):
        mlp = self.block.mlp
        if self.b_1 is None:
            return mlp(x)
        first, _, second = mlp.children()
        return quick_mlp(x, first.weight, self.b_1, second.weight, second.bias)

    def _with(self, part, x, out):
        more = None if self.beside is None else self.beside(self.number, part, x)
        return out if more is None else out + more


def layers_of(transformer, beside, which=slice(None)):
    """Blocks of a transformer; what is made of their frozen weights is made in each pass, of these as they are.

    In 16 bits PyTorch's layer norm needs its weights in 16 bits on a GPU, too: CLIP has them in float32.
    """
    layers = [Layer(block, i, beside) for i, block in list(enumerate(transformer.resblocks))[which]]
    if not FUSES:
        return layers
    quick = [layer for layer in layers if _is_quick(layer.block.mlp)]
    biases = [next(layer.block.mlp.children()).bias for layer in quick]
    for layer, b_1 in zip(quick, _at_once(lambda bias: QUICK * bias, biases)):
        layer.b_1 = b_1
    norms = [
        (layer, name) for layer in layers for name in ("ln_1", "ln_2") if _is_wide(getattr(layer.block, name), layer)
    ]
    wide = [weight for layer, name in norms for weight in getattr(layer.block, name).parameters()]
    narrow = _at_once(lambda weight: weight.to(layers[0].dtype), wide)
    for (layer, name), *both in zip(norms, narrow[::2], narrow[1::2]):
        layer.narrow[name] = both
    return layers


def _is_quick(mlp):
    """Whether it is CLIP's own, with a QuickGELU, and frozen."""
    kinds, weights = [type(part).__name__ for part in mlp.children()], list(mlp.parameters())
    return kinds == ["Linear", "QuickGELU", "Linear"] and len(weights) == 4 and _are_frozen(weights)


def _is_wide(norm, layer):
    return norm.weight.dtype != layer.dtype and _are_frozen(norm.parameters())


def _are_frozen(weights):
    return not any(weight.requires_grad for weight in weights)


def _at_once(function, vectors):
    """What a function of numbers makes of each of some vectors, in one kernel for all."""
    return function(torch.cat(vectors)).split([len(vector) for vector in vectors]) if vectors else ()
