"""One switch for numerical precision, the same code path on CPU and GPU."""

import contextlib
from typing import Any, ContextManager, Dict, Iterable, Optional, Tuple, Union

import torch

from .compat import AUTOCASTS_ON_CPU, GradScaler, autocast
from .errors import UserError

ENCODER_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "amp": torch.float32}  # of PREC


class Precision:
    """What PREC means: the dtype of the frozen encoders, autocast, and loss scaling.

    Prompts and other learnable weights are float32 in every mode, and so are features, logits and losses.

    - fp32: everything in float32.
    - fp16, bf16: frozen encoders in that dtype; fp16 with loss scaling.
    - amp: float32 weights under autocast (float16 on a GPU with loss scaling, bfloat16 on a CPU).

    On a CPU fp16 falls back to fp32 and says so. Raises KeyError for any other PREC.
    """

    prec: str  # what PREC has become on this device
    encoder_dtype: torch.dtype
    autocast_dtype: Optional[torch.dtype]
    scaler: Optional[torch.cuda.amp.GradScaler]

    def __init__(self, prec: str, device: Union[str, torch.device]):
        self.device_type = torch.device(device).type
        if prec == "fp16" and self.device_type == "cpu":
            print("PREC fp16 needs a GPU: running in fp32 on the CPU")
            prec = "fp32"
        if prec == "amp" and self.device_type == "cpu" and not AUTOCASTS_ON_CPU:
            raise UserError(
                f"PREC amp on a CPU needs PyTorch 1.10 or newer, and this is {torch.__version__}: use fp32."
            )
        self.prec = prec
        self.encoder_dtype = ENCODER_DTYPES[prec]
        half = torch.float16 if self.device_type == "cuda" else torch.bfloat16
        self.autocast_dtype = half if prec == "amp" else None
        scaled = self.device_type == "cuda" and prec in ("fp16", "amp")
        self.scaler = GradScaler() if scaled else None

    def autocast(self) -> ContextManager:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return autocast(self.device_type, dtype=self.autocast_dtype)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """What to call the backward pass on: the loss, times a factor under which float16 gradients do not vanish."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """One optimiser step on gradients of scaled losses; it is left out if one of them overflowed."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    def state_dict(self) -> Dict[str, Any]:
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """What a run on another device has saved is left alone. Raises ValueError if it is no loss scaling's state."""
        if self.scaler is None or not state:
            return
        for key, own in self.scaler.state_dict().items():
            value = state.get(key)
            if type(value) is not type(own) or not 0 <= value < float("inf") or (value == 0 and key == "scale"):
                raise ValueError(f"no state of the loss scaling, whose {key} is a number")
        self.scaler.load_state_dict(state)


def first_not_finite(named: Iterable[Tuple[str, torch.Tensor]]) -> Optional[str]:
    """The name of the first of (name, tensor) pairs that holds an infinite number or NaN; None if all are finite."""
    return next((name for name, tensor in named if not _is_finite(tensor)), None)


def _is_finite(tensor):
    """Smallest and largest number tell, in a tenth of the time of a look at each: a NaN is both."""
    tensor = tensor.float()
    return tensor.numel() == 0 or all(torch.isfinite(number) for number in (tensor.min(), tensor.max()))
