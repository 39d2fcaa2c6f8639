"""What a CLIP is made of, whichever library it comes from: weights in OpenAI's names, and what those do not say."""

import hashlib
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import nn

from ..errors import MissingFile, UserError
from ..files import torch_file

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
SAFETENSORS = ".safetensors"
CONTEXT_LENGTH, VOCABULARY = 77, 49408  # tokens that CLIP's text encoder reads, start and end among them, and knows


class Pictures(NamedTuple):
    """The pictures that a CLIP was trained on."""

    size: int  # of a side, in pixels
    mean: Optional[Sequence[float]] = None  # of R, G and B in [0, 1], which was subtracted; None: not known
    std: Optional[Sequence[float]] = None  # by which they were divided then
    interpolation: Optional[str] = None  # by which they were resized, as of INPUT.INTERPOLATION; None: not known


class ClipWeights(NamedTuple):
    """The weights of a CLIP whose layers are those of OpenAI's, in OpenAI's names."""

    state_dict: Dict[str, torch.Tensor]
    where: str  # file or name that they come from, for errors
    activation: str = ""  # "quickgelu" or "gelu"; "" if nothing says
    why: str = ""  # who says so, for the line that a run prints
    format: str = "OpenAI's format"  # what they are in there
    heads: Optional[Tuple[int, int]] = None  # of a layer, of images and of text; None: a head is 64 wide
    pictures: Optional[Pictures] = None  # None: not known
    check: Optional[Callable[[nn.Module], None]] = None  # raises ValueError unless the built CLIP is what it should be
    files: Sequence[str] = ()  # all that say what it is


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """64 hexadecimal digits that tell apart names, shapes, types and every bit of tensors, in whatever order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensor.dtype} ".encode())
        # as integers of the same size, since NumPy knows no bfloat16, and PyTorch 1.9 no view of another size
        digest.update(tensor.view(_INTEGERS[tensor.element_size()]).numpy() if tensor.numel() else b"")
    return digest.hexdigest()


def refused(where: str, reason: str) -> UserError:
    """The error for a CLIP whose layers or tokens are others than OpenAI's, which methods here rely on."""
    return UserError(f'Backbone "{where}" cannot be used, as {reason}: docs/backbones.md lists which ones can.')


def read_file(path: str) -> Any:
    """The state dict in a file: safetensors, of torch.save, or a TorchScript archive.

    One below "state_dict" is unpacked, with "module." (DistributedDataParallel) in front of its names or not. What else
    a file may hold is handed out as it is. Raises UserError for what cannot be read.
    """
    what, remedy = "CLIP weights file", "fetch it again, or name another one"
    if path.endswith(SAFETENSORS):
        return _read_safetensors(path, what, remedy)
    content = torch_file.load(path, what, remedy, legacy=True, torchscript=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if isinstance(content, dict) and content and all(str(name).startswith("module.") for name in content):
        content = {name[len("module.") :]: tensor for name, tensor in content.items()}
    return content


def script_activation(path: str) -> str:
    """The activation in the code of a TorchScript archive, "quickgelu" or "gelu"; "" for another file, or no CLIP."""
    code = torch_file.script_of(path)
    # QuickGELU is x * sigmoid(1.702 x), and nothing else in a CLIP has a sigmoid
    found = [name for name, call in (("quickgelu", "torch.sigmoid("), ("gelu", "torch.gelu(")) if call in code]
    return found[0] if len(found) == 1 else ""


def _read_safetensors(path, what, remedy):
    try:
        from safetensors import SafetensorError  # here: forks need not have it
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f'{what} "{path}" needs safetensors, which is not installed: pip install safetensors.'
        ) from error
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise MissingFile(f'{what} "{path}" does not exist: correct the path.') from error
    except OSError as error:
        raise UserError(
            f'{what} "{path}" cannot be read ({error}): mend that, or give the path of another file.'
        ) from error
    except SafetensorError as error:
        raise torch_file.DamagedFile(f'{what} "{path}" is damaged or no safetensors ({error}): {remedy}.') from error
