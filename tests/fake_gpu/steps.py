"""A step and an evaluation of methods in each precision: "ok", or the error.

    python -m tests.fake_gpu.steps GUARD METHOD[:BREAK] ...

GUARD is guard.cpp, compiled; BREAK a mistake of `BREAKS` that is made on purpose. "graphs" stands for a step in fp32
with MODEL.CUDA_GRAPHS: PyTorch makes none of what holds a tensor of the host, and says so in its own log alone.
"""

# ruff: noqa: E402  imports behind a statement
import ctypes
import sys

ctypes.CDLL(sys.argv[1])  # before PyTorch, which asks once what there is

import copy
import types
import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.cuda.amp import common

from benchmarks import vit
from doctor.compute import GEOMETRIES, Subject
from harness.catalogue import method
from trainers import e2mim
from trainers.precision import ENCODER_DTYPES, Precision
from trainers.prompting import model, prompt_text
from trainers.prompting.image_batch import ImageBatch
from trainers.run import cuda_graphs

N_CLS, BATCH = 10, 4
BREAKS = {
    "positions stay on the CPU": lambda: setattr(prompt_text.PromptSequences, "to", lambda self, device: self),
    "a number is asked for": lambda: change_losses(lambda losses: losses["ce"].item()),
    "a term on the CPU": lambda: change_losses(lambda losses: losses.update(ce=losses["ce"] + torch.ones(1))),
    "a comparison is asked for": lambda: change_losses(lambda losses: bool(losses["ce"] > 0)),
    "a count is asked for": lambda: change_losses(lambda losses: losses["ce"].expand(3).nonzero()),
    "as an array": lambda: change_losses(lambda losses: losses["ce"].detach().numpy()),
    "back on the host": lambda: change_losses(lambda losses: losses.update(ce=losses["ce"].cpu())),
    "float16": lambda: change_losses(lambda losses: losses.update(ce=losses["ce"].half())),
    "float64": lambda: change_losses(lambda losses: losses.update(ce=losses["ce"].double())),
    "an index of the labels on the CPU": lambda: change_losses(
        lambda losses: torch.arange(3) == losses["ce"].expand(3)
    ),
    "drawn on the host": lambda: change_losses(lambda losses: losses.update(ce=torch.rand(()) * losses["ce"])),
}


def change_losses(change):
    plain = model.PromptedCLIP.losses

    def losses(self, *what):
        found = plain(self, *what)
        change(found)
        return found

    model.PromptedCLIP.losses = losses


def pretend():
    """What is asked of CUDA beside tensors; and "meta", which stands for the GPU while a model is built."""
    torch.cuda.get_device_properties = lambda *device: types.SimpleNamespace(total_memory=2**36)
    common.amp_definitely_not_available = lambda: False
    prompt_text.GROUP_COST["meta"] = prompt_text.GROUP_COST["cuda"]
    # E2MIM decides by the labels on the host, which fake tensors have no numbers for
    e2mim.draw_partners = lambda label, device: torch.arange(len(label), device=device).roll(1)


def precision_of(prec):
    precision = Precision.__new__(Precision)
    precision.device_type, precision.prec, precision.scaler = "cuda", prec, None
    precision.encoder_dtype = ENCODER_DTYPES[prec]
    precision.autocast_dtype = torch.float16 if prec == "amp" else None
    return precision


def on_the_gpu(built):
    """A copy in which each tensor of the device "meta", wherever it is, is a fake one on "cuda"."""
    of_tensors, of_parameters = torch.Tensor.__deepcopy__, torch.nn.Parameter.__deepcopy__

    def deepcopy(tensor, memo):
        new = tensor
        if tensor.device.type == "meta":
            new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            new = torch.nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else new
        return memo.setdefault(id(tensor), new)

    torch.Tensor.__deepcopy__ = torch.nn.Parameter.__deepcopy__ = deepcopy
    try:
        return copy.deepcopy(built)
    finally:
        torch.Tensor.__deepcopy__, torch.nn.Parameter.__deepcopy__ = of_tensors, of_parameters


def of_the_gpu_alone(graph, _):
    """In the place of a compiler: runs a graph as it is."""
    for node in graph.graph.nodes:
        values = node.meta.get("example_value")
        for value in values if isinstance(values, (tuple, list)) else [values]:
            if isinstance(value, torch.Tensor) and value.device.type != "cuda":
                raise TypeError(f"a graph holds {node} on {value.device}")
    return graph.forward


def check(subject, prec):
    graphs, prec = prec == "graphs", "fp32" if prec == "graphs" else prec
    built, _ = subject.model(N_CLS, prec, "meta")
    precision = precision_of(prec)
    with FakeTensorMode(allow_non_fake_inputs=True):
        ours = on_the_gpu(built)
        if subject.method.teacher_key:
            ours.teacher.precision = precision
        images, labels = torch.empty(BATCH, 3, 32, 32, device="cuda"), torch.arange(BATCH)
        step = cuda_graphs.as_graphs(ours, torch.device("cuda")) if graphs else ours
        with precision.autocast():
            logits, losses = step(ImageBatch(images, None, labels), labels.to("cuda"))
        right(logits, *losses.values())
        if subject.steps:
            ours.backward(losses)
            right(*(p.grad for p in ours.prompt_learner.parameters()))
        right(vit.evaluate(ours, precision, images))


def right(*tensors):
    for tensor in tensors:
        if (tensor.device.type, tensor.dtype) != ("cuda", torch.float32):
            raise TypeError(f"a result is {tensor.dtype} on {tensor.device}")


def main():
    warnings.simplefilter("ignore")
    pretend()
    cuda_graphs.BACKENDS["cuda"] = of_the_gpu_alone
    for word in sys.argv[2:]:
        name, _, mistake = word.partition(":")
        plain = model.PromptedCLIP.losses, prompt_text.PromptSequences.to
        if mistake:
            BREAKS[mistake]()
        subject = Subject(method(name), GEOMETRIES["tiny"], "cuda")
        graphs = subject.steps and mistake in ("", "drawn on the host")
        for prec in [*ENCODER_DTYPES, *["graphs"] * graphs]:
            try:
                check(subject, prec)
                print(f"{word} {prec}: ok", flush=True)
            except Exception as error:
                print(f"{word} {prec}: {type(error).__name__} {' '.join(str(error).split())[:200]}", flush=True)
        model.PromptedCLIP.losses, prompt_text.PromptSequences.to = plain


if __name__ == "__main__":
    main()
