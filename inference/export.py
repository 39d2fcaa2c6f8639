"""A trained run as a file for other programs: a classifier that goes with a plain CLIP, or the whole for its classes.

    from inference.export import export_run

    export_run("output/base2new/train_base/shapes/shots_16/CoOp/shapes/seed1", "coop.safetensors")

The file's ending says its format; docs/export.md says how each is used. All are in float32, whatever precision the run
had, and none is written that does not give the run's logits.
"""

import contextlib
import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn

from trainers.backbone.clip_loader import load_clip
from trainers.errors import UserError
from trainers.files.whole_files import write_whole
from trainers.prompting.model import normalise

from .api import TrainedModel, load_run

TOLERANCE = 1e-4  # between logits, which are cosines times about 100
BATCHES = (1, 4, 11)  # how the pictures come that both are compared on; programs are traced with 2

ONNX_LIMIT = 2**31 - 2**24  # bytes of weights in one ONNX file: its format ends at 2 GiB

Logits = Callable[[torch.Tensor], torch.Tensor]  # images (n, 3, H, W), float32, on the CPU -> (n, n_cls)


class Format(NamedTuple):
    write: Callable[[TrainedModel], bytes]
    read: Callable[[bytes, TrainedModel], Logits]  # what a program would do that has the file, and not the run


class Exported(NamedTuple):
    """What was written, and the largest difference between its logits and the run's (`compare`)."""

    path: str
    classnames: list[str]
    difference: float


def export_run(
    folder: str, path: str, classnames: Optional[Sequence[str]] = None, device: Optional[str] = None
) -> Exported:
    """Write the run in `folder` for its classes, or for `classnames`, to `path`: *.safetensors, *.onnx or *.pt2.

    device: where a .pt2 is to run; by default the CPU.

    Raises UserError, and writes nothing, for a run that has no such export or whose logits an export does not give.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in FORMATS:
        raise UserError(f'An export\'s name says its format: let "{path}" end in {" or ".join(FORMATS)}.')
    if device is not None and ending != ".pt2":
        raise UserError(f"Only a .pt2 is made for a device, and a {ending} runs on any: leave the device out.")
    model = load_run(folder, classnames, device or "cpu", prec="fp32")
    content = FORMATS[ending].write(model)
    difference = compare(model, FORMATS[ending].read(content, model))
    write_whole(path, lambda file: file.write(content))
    return Exported(path, model.classnames, difference)


# ---- the check -------------------------------------------------------------------------------------------------


def compare(model: TrainedModel, exported: Logits) -> float:
    """The largest difference between the logits of both on `pictures`. Raises UserError if it is above `TOLERANCE`."""
    images = torch.stack([model.transform(picture) for picture in pictures()])
    expected, batches = model.logits(images), images.split(BATCHES)
    alone = _difference(torch.cat([model.logits(batch) for batch in batches]), expected)
    if not alone <= TOLERANCE:
        raise UserError(
            f"{model.cfg.TRAINER.NAME} of this run judges a picture by the others of its batch (logits differ by "
            f"{alone:.1e}), which no export does: train it under settings that do not."
        )
    difference = _difference(torch.cat([exported(batch) for batch in batches]), expected)
    if not difference <= TOLERANCE:
        raise UserError(
            f"The export's logits differ from the run's by {difference:.1e}, and may by {TOLERANCE:.0e}: it is not "
            f"written; please report which versions of PyTorch and onnxruntime you have."
        )
    return difference


def _difference(logits, expected):
    return (logits - expected).abs().max().item()


def pictures() -> list[Image.Image]:
    """Random pictures that differ in much: from one colour to noise, faint or glaring, of many sizes and shapes."""
    rng = np.random.RandomState(0)
    made = []
    for i in range(sum(BATCHES)):
        contrast = rng.uniform(0.1, 1)
        colours = 127.5 + contrast * rng.uniform(-127.5, 127.5, (1 + i, 1 + i, 3))
        size = rng.randint(100, 400, 2).tolist()
        made.append(Image.fromarray(colours.astype(np.uint8)).resize(size, Image.BICUBIC))
    return made


# ---- what is said in all formats -------------------------------------------------------------------------------


def facts(model: TrainedModel) -> dict[str, str]:
    """What else a user of the logits must know; lists and dicts are JSON."""
    return {
        "method": model.cfg.TRAINER.NAME,
        "backbone": model.cfg.MODEL.BACKBONE.NAME,
        "activation": model.activation,
        "classnames": json.dumps(model.classnames),
        "logit_scale": repr(model.logit_scale),
        "transform": json.dumps(transform_facts(model.transform)),
    }


def transform_facts(transform: T.Compose) -> dict[str, object]:
    """A picture becomes an image by T.Resize(resize, interpolation), T.CenterCrop(crop), T.ToTensor() and
    T.Normalize(mean, std) of torchvision."""
    found = {"mean": [0.0] * 3, "std": [1.0] * 3}
    for step in transform.transforms:
        if isinstance(step, T.Resize):
            found.update(resize=step.size, interpolation=step.interpolation.value)
        elif isinstance(step, T.CenterCrop):
            found.update(crop=list(step.size))
        elif isinstance(step, T.Normalize):
            found.update(mean=list(step.mean), std=list(step.std))
        elif not isinstance(step, T.ToTensor):
            raise UserError(f"The run's pictures pass through {step}, which an export cannot state: train without it.")
    return found


# ---- a classifier ----------------------------------------------------------------------------------------------


def write_classifier(model):
    """(n_cls, dim) as `classifier`: logits are logit_scale * unit image features @ classifier.T.

    Its rows need not be of unit length (E2MIM's are means), and are to be used as they are.
    """
    from safetensors.torch import save

    if not model.image_side_is_plain:
        raise UserError(
            f"{model.cfg.TRAINER.NAME} has learned on the image side, too, so that no classifier fits a plain CLIP: "
            f"export an .onnx or a .pt2, which hold all of it."
        )
    if not model.predicts_by_text:
        raise UserError(
            f"{model.cfg.TRAINER.NAME} predicts by more than text, what it has learned of its training classes, which "
            f"no classifier for a plain CLIP holds: export an .onnx or a .pt2, which hold all of it."
        )
    return save({"classifier": model.encode_text().contiguous()}, metadata=facts(model))


def read_classifier(content, model):
    from safetensors.torch import load

    said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    classifier, scale = load(content)["classifier"], float(said["logit_scale"])
    clip_model = load_clip(said["backbone"], said["activation"])  # CLIP's own way through its layers

    @torch.no_grad()
    def logits(images):
        return scale * normalise(clip_model.encode_image(images)) @ classifier.t()

    return logits


# ---- the whole -------------------------------------------------------------------------------------------------


def trace(model: TrainedModel) -> "torch.export.ExportedProgram":
    """image (batch, 3, H, W) -> logits (batch, n_cls), with the weights that it needs and no others."""
    program, height_width = model.program(), transform_facts(model.transform)["crop"]
    images = torch.zeros(2, 3, *height_width, device=model.device)
    shapes = {"image": {0: torch.export.Dim("batch")}}

    def traced(module):
        with torch.no_grad(), _quiet():
            return torch.export.export(module, (images,), dynamic_shapes=shapes, strict=False)

    whole = traced(program)
    used = {node.name for node in whole.graph.nodes if node.op == "placeholder" and node.users}
    return traced(_with_only(program, {s.target for s in whole.graph_signature.input_specs if s.arg.name in used}))


def _with_only(module: nn.Module, names: set[str]) -> nn.Module:
    """A copy of a module with these parameters and buffers, which it shares, in the place of all."""
    slim = copy.deepcopy(module, {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]})
    for prefix, part in slim.named_modules():
        for tensors in (part._parameters, part._buffers):
            tensors.update({name: None for name in tensors if f"{prefix}.{name}".lstrip(".") not in names})
    return slim


def write_program(model):
    file = io.BytesIO()
    with _quiet():
        torch.export.save(trace(model), file, extra_files=facts(model))
    return file.getvalue()


def read_program(content, model):
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    @torch.no_grad()
    def logits(images):
        return module(images.to(model.device)).cpu()

    return logits


def write_onnx(model):
    _require_onnx()
    traced = trace(model)
    size = sum(tensor.nbytes for tensor in traced.state_dict.values())
    if size > ONNX_LIMIT:
        raise UserError(f"The model has {size / 2**30:.1f} GiB, and an .onnx holds 2 GiB: export a .pt2.")
    names = {"input_names": ["image"], "output_names": ["logits"]}
    with _quiet():
        program = torch.onnx.export(traced, dynamo=True, verbose=False, **names).model_proto
    graph = program.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param  # such as s77
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
    for key, value in facts(model).items():
        program.metadata_props.add(key=key, value=value)
    return program.SerializeToString()


def read_onnx(content, model):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])


def _require_onnx():
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX needs the package {error.name}: pip install onnx onnxruntime onnxscript, or export a .pt2."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on their own inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


FORMATS = {
    ".safetensors": Format(write_classifier, read_classifier),
    ".onnx": Format(write_onnx, read_onnx),
    ".pt2": Format(write_program, read_program),
}
