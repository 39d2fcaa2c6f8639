"""Running averages of what a training loop prints."""

from collections import defaultdict

import torch


class AverageMeter:
    """Latest value `val` and average `avg` of a quantity; `ema`: exponential moving average (factor 0.9)."""

    def __init__(self, ema=False):
        self.ema = ema
        self.reset()

    def reset(self):
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        """Take in `val` (number or one-element tensor), the mean of `n` samples."""
        self.val = val.item() if isinstance(val, torch.Tensor) else val
        self.sum += self.val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * self.val if self.ema else self.sum / self.count


class MetricMeter:
    """Named `AverageMeter`s, printed as `loss 1.2345 (1.3456) acc 50.0000 (49.1234)`: latest (average)."""

    def __init__(self, delimiter=" "):
        self.meters = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict):
        """Take in one value per name; `None` is ignored. Raises TypeError if it is not a dictionary."""
        if input_dict is None:
            return
        if not isinstance(input_dict, dict):
            raise TypeError(f"MetricMeter.update() takes a dictionary, not {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self):
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
