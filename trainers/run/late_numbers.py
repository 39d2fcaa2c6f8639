"""A step's numbers, which are read when a GPU has them: to wait for them would leave it without work."""

from collections import OrderedDict

import torch


class LateNumbers(OrderedDict):
    """Name -> tensor () on the device, which the original Dassl reads by itself, and waits for.

    A copy of all is under way to the host from the beginning: `ready` says whether it has come, `read` waits for it.
    """

    def __init__(self, **numbers: torch.Tensor):
        values = torch.stack([number.detach().float().reshape(()) for number in numbers.values()])
        super().__init__(zip(numbers, values.unbind()))
        self._copy, self._copied = values, None
        if values.is_cuda:
            self._copy = torch.empty(values.shape, pin_memory=True)
            self._copy.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def ready(self) -> bool:
        return self._copied is None or self._copied.query()

    def read(self) -> "OrderedDict[str, float]":
        if self._copied is not None:
            self._copied.synchronize()
        return OrderedDict(zip(self, self._copy.tolist()))
