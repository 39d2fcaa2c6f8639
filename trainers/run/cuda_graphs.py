"""A training step as CUDA graphs (MODEL.CUDA_GRAPHS): a GPU is told once for all kernels what to do, not for each.

Off unless it is asked for, since it has not run on a GPU yet; `python tools/doctor.py --compute` measures both ways.
"""

from typing import Any, Callable

import torch
from torch import nn

from ..between_graphs import BetweenGraphs
from ..errors import UserError
from ..prompting.encoders import memory_limit
from ..prompting.image_batch import Image, ImageBatch

# By kind of device: what PyTorch's compiler does with the operations of a step. This one launches them as they are, so
# that numbers stay the same; compiled for the device (mode="reduce-overhead"), their last bits would differ. PyTorch
# 2.13 copies the weights in each step besides; its setting against that, install_free_tensors, would not notice a
# tensor that a module puts in another's place
BACKENDS = {"cuda": "cudagraphs"}


def as_graphs(model: nn.Module, device: torch.device) -> Callable[..., Any]:
    """A `PromptedCLIP` on a device -> what takes images and labels as it does in a step, and launches them as graphs.

    Graphs are recorded in the first steps, for each size of a batch. What the host decides (`BetweenGraphs`) and stored
    features stand between two of them. On a device without graphs it says so and gives the model.
    Raises UserError if PyTorch is too old.
    """
    if device.type not in BACKENDS:
        print("MODEL.CUDA_GRAPHS needs a GPU: running without")
        return model
    compiler = getattr(torch, "compiler", None)
    if not hasattr(compiler, "cudagraph_mark_step_begin"):
        raise UserError(f"MODEL.CUDA_GRAPHS needs PyTorch 2.2 or newer, and this is {torch.__version__}: leave it out.")
    compiler.reset()  # what another model recorded counts against the limit of this one's
    memory_limit(device)
    for each in BetweenGraphs.functions:
        each.function = compiler.disable(each.plain)
    of_batch = {}

    @compiler.disable
    def look_up(pixels):
        return of_batch["features"](pixels)

    def forward(pixels, known, on_host, label):
        if isinstance(pixels, torch.Tensor):  # not a list of views
            pixels = ImageBatch(pixels, look_up if known else None, on_host)
        return model(pixels, label)

    recorded = torch.compile(forward, backend=BACKENDS[device.type], dynamic=False)

    def step(image: Image, label: torch.Tensor):
        compiler.cudagraph_mark_step_begin()  # what the last step gave is not read any more
        if not isinstance(image, ImageBatch):
            return recorded(image, False, None, label)
        of_batch["features"] = image.features  # a function of its own in each step, which would be recorded again
        return recorded(image.pixels, image.features is not None, image.labels, label)

    return step
