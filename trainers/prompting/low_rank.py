"""Low-rank updates of an encoder's linear maps (LoRA, arXiv 2106.09685, section 4.1)."""

import math
from typing import Optional, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .text_tokens import TextTokens


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

    def __init__(self, layers: Sequence[int], parts: Sequence[str], width: int, rank, scale, dropout=0.0):
        """rank, scale, dropout: of each `LowRank`."""
        super().__init__()
        for i in layers:
            self[str(i)] = nn.ModuleDict({part: LowRank(width, width, rank, scale, dropout) for part in parts})
        self.dropout = dropout

    def apart(self, i: int, tokens: TextTokens) -> TextTokens:
        """Hook for the text encoder: with dropout, tokens that all classes share differ from class to class."""
        return tokens.apart() if i == 0 and self.training and self.dropout > 0 else tokens

    def forward(self, i: int, part: str, x: torch.Tensor) -> Optional[torch.Tensor]:
        layer = self[str(i)] if str(i) in self else {}
        return layer[part](x) if part in layer else None
