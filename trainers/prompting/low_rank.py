"""Low-rank updates of an encoder's linear maps (LoRA, arXiv 2106.09685, section 4.1)."""

import math
from typing import Optional, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class LowRank(nn.Module):
    """What W + scale B A adds to W x, with dropout on its own x alone: scale B A dropout(x).

    A starts as PyTorch's linear maps do and B at zero, so that training starts from W.
    """

    def __init__(self, n_in, n_out, rank, scale, dropout=0.0):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.a = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rank, n_in), a=math.sqrt(5)))
        self.b = nn.Parameter(torch.zeros(n_out, rank))

    def forward(self, x):
        """(..., n_in) -> (..., n_out), in the type of x."""
        x = F.dropout(x, self.dropout, self.training) if self.dropout > 0 else x
        return F.linear(F.linear(x, self.scale * self.a.to(x.dtype)), self.b.to(x.dtype))


class LowRankUpdates(nn.ModuleDict):
    """Low-rank updates beside the same parts of several layers of an encoder; called as `encoders.Beside`."""

    def __init__(self, layers: Sequence[int], parts: Sequence[str], width: int, *args, **options):
        """args, options: those of `LowRank` behind the widths."""
        super().__init__(
            {str(i): nn.ModuleDict({part: LowRank(width, width, *args, **options) for part in parts}) for i in layers}
        )

    def forward(self, i: int, part: str, x: torch.Tensor) -> Optional[torch.Tensor]:
        layer = self[str(i)] if str(i) in self else {}
        return layer[part](x) if part in layer else None
