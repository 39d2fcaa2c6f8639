"""What PyTorch 1.9 to 2.2, which forks still use, lack: under the newer names, in plain torch where it is missing."""

import inspect
import math
from typing import Any, Callable, Optional

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def plain_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: Optional[torch.Tensor] = None,
    is_causal: bool = False,
) -> torch.Tensor:
    """softmax(query key^T / sqrt(dim)) value: (..., n, dim), (..., m, dim), (..., m, dim) -> (..., n, dim).

    attn_mask: (..., n, m), true where a query sees a key; or numbers, which are added to the scores.
    """
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)  # (..., n, m)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(dim=-1) @ value


def gpu_autocast(device_type: str, dtype: Any = None, enabled: bool = True) -> torch.cuda.amp.autocast:
    """`torch.autocast` of PyTorch 1.9, which has it on a GPU alone and in float16 alone."""
    return torch.cuda.amp.autocast(enabled)


def recompute(function: Callable[..., torch.Tensor], *args: Any) -> torch.Tensor:
    """function(*args), whose intermediate results are not kept but computed again for the gradients; see RECOMPUTES.

    What it draws at random is drawn again; the tensors among its arguments tell on which GPU.
    """
    return checkpoint(function, *args, use_reentrant=False)


FUSES = hasattr(F, "scaled_dot_product_attention")  # older ones lack kernels in 16 bits, and go the plain way
scaled_dot_product_attention = getattr(F, "scaled_dot_product_attention", plain_attention)  # PyTorch 2.0
autocast = getattr(torch, "autocast", gpu_autocast)  # PyTorch 1.10
GradScaler = getattr(getattr(torch, "amp", None), "GradScaler", torch.cuda.amp.GradScaler)  # PyTorch 2.3
AUTOCASTS_ON_CPU = autocast is not gpu_autocast
# The older kind of recomputing, which is all that PyTorch 1.9 and 1.10 have, sees only the gradients of its arguments
RECOMPUTES = "use_reentrant" in inspect.signature(checkpoint).parameters
