"""A step's numbers, which are read when a GPU has them: to wait for them at once would leave it without work."""

from typing import Callable, Dict, ItemsView

import torch


class LateNumbers(dict):
    """Name -> tensor () on the device; `items` waits for them and gives floats.

    So Dassl's meters read them. The original does so at once; ours, which asks for `late`, when the next step has been
    launched. A copy of all is under way to the host from the beginning.

    Args:
        check: called with the floats whenever they are read; may raise.
    """

    def __init__(self, check: Callable[[Dict[str, float]], None], /, **numbers: torch.Tensor):
        values = torch.stack([number.detach().float().reshape(()) for number in numbers.values()])
        super().__init__(zip(numbers, values.unbind()))
        self._check, self._copy = check, values
        self.late = values.is_cuda
        if self.late:
            self._copy = torch.empty(values.shape, pin_memory=True)
            self._copy.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def items(self) -> "ItemsView[str, float]":
        if self.late:
            self._copied.synchronize()
        numbers = dict(zip(self, self._copy.tolist()))
        self._check(numbers)
        return numbers.items()
