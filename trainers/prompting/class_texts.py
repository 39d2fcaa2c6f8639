"""Several texts about each class, of which a step draws one and a test takes all."""

from typing import Iterator, List, Sequence

import torch
from torch import nn

from ..between_graphs import uniform
from .prompt_text import GROUP_COST, embed, group
from .text_tokens import TextTokens

PART = 1024  # texts of a test that are embedded at a time: 80 templates for 1,000 classes would be 2 GB


class ClassTexts(nn.Module):
    """Token ids of the classes' texts, which are embedded when they are read.

    What a step draws has the shape of each class's longest text, so that a GPU is not asked how long it is.

    Args:
        tokens: of each class its texts, (n, 77) int64 with the end of text as the largest.
    """

    def __init__(self, clip_model: nn.Module, tokens: Sequence[torch.Tensor]):
        super().__init__()
        self._clip = [clip_model]  # in a list, so that its modules are not registered a second time
        self.counts = [len(each) for each in tokens]
        ids = torch.cat(list(tokens))
        eos = ids.argmax(dim=-1)
        longest = torch.stack([each.max() for each in eos.split(self.counts)]) + 1
        cost = GROUP_COST[clip_model.logit_scale.device.type]
        order, self.drawn_groups = group(longest, cost)
        counts = torch.tensor(self.counts)
        buffers = {"ids": ids, "eos": eos, "n": counts, "first": counts.cumsum(0) - counts, "drawn_order": order}
        self.part_groups = []
        for i, part in enumerate((eos + 1).split(PART)):
            buffers[f"order_{i}"], groups = group(part, cost)
            self.part_groups.append(groups)
        for name, buffer in buffers.items():  # they belong to these classes
            self.register_buffer(name, buffer, persistent=False)
        self.to(clip_model.token_embedding.weight.device)

    def draw(self) -> TextTokens:
        """A text of each class, all of its own equally likely; whoever encodes it gets (n_cls, dim)."""
        number = (uniform(self.n.shape, self.n.device) * self.n).long()
        return self._embedded(self.first + torch.minimum(number, self.n - 1), self.drawn_order, self.drawn_groups)

    def all(self) -> Iterator[TextTokens]:
        """All texts, class after class, some at a time."""
        for i, groups in enumerate(self.part_groups):
            order = getattr(self, f"order_{i}")
            rows = torch.arange(i * PART, i * PART + len(order), device=order.device)
            yield self._embedded(rows, order, groups)

    def of_classes(self, x: torch.Tensor) -> List[torch.Tensor]:
        """What is of all texts (n, ...) -> of each class's."""
        return list(x.split(self.counts))

    def _embedded(self, rows, order, groups):
        ids, eos = self.ids[rows[order]], self.eos[rows[order]]
        own = [x[:, 1:n].flatten() for x, n in zip(ids.split(list(groups.counts)), groups.lengths)]
        x = embed(self._clip[0], torch.cat([ids[0, :1], *own]))  # the start of the text, which all share, stands once
        return TextTokens(x, 1, groups, order, eos)
