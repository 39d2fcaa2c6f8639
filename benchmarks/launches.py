"""How many kernels a step launches on a GPU, counted on a CPU: the operations that are no views, optimiser included.

At the papers' batch sizes a GPU takes longer to be told what to do than to do it. As a GPU would have them, sequences
of all lengths are one group, attention is the fused kernel, and the optimiser takes all tensors at once.
"""

from unittest import mock

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.prompting import encoders, prompt_text
from trainers.run.optimiser import fuse, optimiser_of

from . import vit

PICTURES, CLASSES, PREC = 4, 100, "bf16"
# Operations that launch nothing: they give memory alone, or read a number that an optimiser keeps on the host
NONE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "_local_scalar_dense"}


class Launches(TorchDispatchMode):
    """Inside, each operation counts that launches a kernel on a GPU."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        of = [result.alias_info for result in operation._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in of)
        self.n += not view and operation.overloadpacket.__name__ not in NONE
        return operation(*args, **(kwargs or {}))


def of_step(subject) -> int:
    """Of a `Subject` of "tiny" geometry, which is as deep as ViT-B/16."""
    fused = mock.patch.object(encoders, "plain_attention", encoders.scaled_dot_product_attention)
    groups = mock.patch.dict(prompt_text.GROUP_COST, cpu=prompt_text.GROUP_COST["cuda"])
    options = subject.config(CLASSES).OPTIM
    with fused, groups:
        model, precision = subject.model(CLASSES, PREC, "cpu")
        trained = nn.ModuleDict({"prompts": model.prompt_learner, "training_only": model.training_only})
        optimiser, _ = optimiser_of(trained, options, range(options.MAX_EPOCH + 1))
        fuse(optimiser, "cpu")
        batch = subject.training_batch(PICTURES, CLASSES, "cpu")
        for _ in range(2):  # the first makes the optimiser's state
            launches = Launches()
            with launches:
                vit.step(model, precision, batch)
                optimiser.step()
    return launches.n
