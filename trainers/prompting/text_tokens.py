"""The tokens of a set of prompt sequences on their way through CLIP's text encoder, none of them twice.

The encoder is causal, so the tokens with which all sequences begin (start of text, a context that all classes share)
have the same keys, values and outputs in each of them: they are kept once. Sequences of equal length form a group, so
that no position is padding. All tokens lie in one flat tensor: what acts on each token by itself, which is all but
attention, is one product over them.
"""

import itertools
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch


def joined(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """As `torch.cat`, which copies one as well."""
    return torch.cat(tuple(tensors), dim) if len(tensors) > 1 else tensors[0]


class Groups(NamedTuple):
    """Which sequences go together, and how long they are."""

    counts: Sequence[int]  # sequences in each group
    lengths: Sequence[int]  # length of its sequences, from the first token on


class TextTokens(NamedTuple):
    """n sequences in front of one layer: each begins with `n_shared` tokens that it shares and goes on with its own.

    Usually all share one beginning. With `owner`, sequence i begins as the beginning owner[i] (CoCoOp: each image's).
    """

    x: torch.Tensor  # (beginnings * n_shared + tokens of their own, width): beginnings, then group after group
    n_shared: int
    groups: Groups
    rows: torch.Tensor  # (n,) the number of each sequence, as the caller counts them
    eos: torch.Tensor  # (n,) the position that is read, from the first token on
    owner: Optional[torch.Tensor] = None  # (n,)

    @property
    def n_own(self) -> List[int]:
        """Tokens of its own of each sequence of a group."""
        return [length - self.n_shared for length in self.groups.lengths]

    def split(self, x: torch.Tensor) -> Tuple[torch.Tensor, List[torch.Tensor]]:
        """What is flat as `self.x` -> beginnings (b, n_shared, width), and each group's own (count, length, width)."""
        sizes = [n * m for n, m in zip(self.groups.counts, self.n_own)]
        shared, *own = x.split([len(x) - sum(sizes), *sizes])
        return shared.unflatten(0, (-1, self.n_shared)), [o.unflatten(0, (-1, m)) for o, m in zip(own, self.n_own)]

    def each(self, shared: torch.Tensor) -> List[torch.Tensor]:
        """Beginnings (b, ...) -> for each group (count, ...), one for each of its sequences."""
        counts = self.groups.counts
        if self.owner is None:
            return [shared.expand(n, *shared.shape[1:]) for n in counts]
        return [shared[owner] for owner in self.owner.split(list(counts))]

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Positions start .. stop - 1 of each sequence, in the order of `rows`: (n, stop - start, width)."""
        shared, own = self.split(self.x)
        n = self.n_shared
        head = self.each(shared[:, start:stop]) if start < n else None
        tail = [o[:, max(start - n, 0) : stop - n] for o in own] if stop > n else None
        if head is None or tail is None:
            return joined(head or tail)
        return joined([torch.cat(both, dim=1) for both in zip(head, tail)])

    def replace(self, start: int, new: torch.Tensor) -> "TextTokens":
        """Tokens from position `start` >= 1 on thrown away for as many new ones.

        new: (m, width), the same for every sequence, or (n, m, width), in the order of `rows`. The tokens behind new
        ones that differ are no longer shared.
        """
        new = new.to(self.x.dtype)
        shared, own = self.split(self.x)
        stop, n = start + new.shape[-2], self.n_shared
        if new.dim() == 2 and stop <= n:
            shared = torch.cat([shared[:, :start], new.expand(len(shared), -1, -1), shared[:, stop:]], dim=1)
            return self._of(shared, own, n)
        if new.dim() == 2:
            new = new.expand(len(self.rows), -1, -1)
        parts = [list(new.split(list(self.groups.counts)))]
        if start < n:  # the new tokens, and what was shared behind them
            parts.append(self.each(shared[:, stop:]))
            shared, n = shared[:, :start], start
        elif start > n:
            parts.insert(0, [o[:, : start - n] for o in own])
        parts.append([o[:, max(stop - self.n_shared, 0) :] for o in own])
        return self._of(shared, [torch.cat(group, dim=1) for group in zip(*parts)], n)

    def insert(self, start: int, new: torch.Tensor) -> "TextTokens":
        """Tokens (m, width), the same for every sequence, in front of position `start`, 1 to `n_shared`."""
        shared, own = self.split(self.x)
        new = new.to(self.x.dtype).expand(len(shared), -1, -1)
        shared, m = torch.cat([shared[:, :start], new, shared[:, start:]], dim=1), new.shape[1]
        groups = Groups(self.groups.counts, [length + m for length in self.groups.lengths])
        return self._of(shared, own, self.n_shared + m)._replace(groups=groups, eos=self.eos + m)

    def take(self, chosen: torch.Tensor) -> "TextTokens":
        """Of sequences of one length (one group), those at the positions `chosen` (m,), whose numbers begin anew."""
        shared, (own,) = self.split(self.x)
        groups, rows = Groups([len(chosen)], self.groups.lengths), torch.arange(len(chosen), device=chosen.device)
        return self._of(shared, [own[chosen]], self.n_shared)._replace(groups=groups, rows=rows, eos=self.eos[chosen])

    def apart(self) -> "TextTokens":
        """The same, but each sequence has a beginning of its own: for what differs between equal tokens (dropout)."""
        shared, own = self.split(self.x)
        owner = torch.arange(len(self.rows), device=self.rows.device)
        return self._of(torch.cat(self.each(shared)), own, self.n_shared)._replace(owner=owner)

    def _of(self, shared, own, n_shared):
        return self._replace(x=torch.cat([t.flatten(0, 1) for t in (shared, *own)]), n_shared=n_shared)

    def places(self, table: torch.Tensor) -> torch.Tensor:
        """Each token's row of a table of positions (length, width), flat as `x`."""
        n, width = self.n_shared, table.shape[1]
        shared = table[:n].expand(self._beginnings, n, width)
        own = [table[n:length].expand(k, length - n, width) for k, length in zip(*self.groups)]
        return torch.cat([t.flatten(0, 1) for t in (shared, *own)])

    @property
    def _beginnings(self):
        return (len(self.x) - sum(n * m for n, m in zip(self.groups.counts, self.n_own))) // self.n_shared

    def ends(self) -> torch.Tensor:
        """Where in `x` the tokens lie that are read, in the order of `rows`: (n,)."""
        first, starts = self._beginnings * self.n_shared, []
        for n, m in zip(self.groups.counts, self.n_own):
            starts.append(torch.arange(first, first + n * m, m, device=self.eos.device)[:n])
            first += n * m
        return joined(starts) + (self.eos - self.n_shared)

    def parts(self, most: int) -> Iterator["TextTokens"]:
        """The same, at most `most` sequences at a time, each time with all beginnings."""
        if most >= len(self.rows):
            yield self
            return
        begin = self.x[: self._beginnings * self.n_shared]
        first, lengths = len(begin), [m for n, m in zip(*self.groups) for _ in range(n)]
        for i in range(0, len(self.rows), most):
            here = slice(i, i + most)
            groups = Groups(*zip(*((len(list(same)), m) for m, same in itertools.groupby(lengths[here]))))
            size = sum(n * (m - self.n_shared) for n, m in zip(*groups))
            x = torch.cat([begin, self.x[first : first + size]])
            owner = None if self.owner is None else self.owner[here]
            yield self._replace(x=x, groups=groups, rows=self.rows[here], eos=self.eos[here], owner=owner)
            first += size
