"""Load a CLIP: an OpenAI name, a weights file, or the bundled `shapes-tiny`."""

import difflib
import hashlib
import http.client
import inspect
import os
import textwrap
import warnings
import zlib

import torch
from torch import nn

from . import torch_file
from .checkpoint import first_not_finite
from .errors import MissingFile, UserError

with warnings.catch_warnings():  # clip imports pkg_resources, whose deprecation no user can act on
    warnings.simplefilter("ignore")
    import clip
    from clip.model import build_model

CONTEXT_LENGTH, VOCABULARY = 77, 49408  # tokens that CLIP's text encoder reads, start and end among them, and knows

ASSETS = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "assets")
BUNDLED = {"shapes-tiny": "shapes-tiny.pt"}
CACHE = os.path.join("~", ".cache", "clip")  # where OpenAI's package keeps its downloads


def load_clip(name, cache=CACHE):
    """Build a CLIP in fp32 on the CPU, in eval mode, without gradients.

    Args:
        name: OpenAI name ("ViT-B/16"), path of a weights file (OpenAI's JIT archive or a state dict), or
            "shapes-tiny".
        cache: folder with OpenAI's files; a missing file is downloaded there.

    Raises:
        UserError: unknown name, or a file that cannot be read or holds no CLIP.
        MissingFile: no such file, or a download that cannot be made.
    """
    urls = clip.clip._MODELS
    if name in BUNDLED:
        path = os.path.normpath(os.path.join(ASSETS, BUNDLED[name]))
        if not os.path.isfile(path):
            raise MissingFile(f'Weights of the bundled "{name}" are missing: put them back at "{path}".')
    elif name in urls:
        path = _openai_file(name, urls[name], os.path.expanduser(cache))
    elif os.path.isfile(os.path.expanduser(name)):
        path = os.path.expanduser(name)
    elif os.path.isdir(os.path.expanduser(name)):
        raise UserError(f'"{name}" (MODEL.BACKBONE.NAME) is a folder: name the weights file in it.')
    elif name.endswith((".pt", ".pth", ".bin", ".tar")) or os.path.dirname(name) not in ("", "ViT"):
        raise MissingFile(f'No weights file at "{name}" (MODEL.BACKBONE.NAME): correct the path.')
    else:
        known = list(urls) + list(BUNDLED)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f' did you mean "{near[0]}"?' if near else ""
        raise UserError(
            f'Unknown backbone "{name}" (MODEL.BACKBONE.NAME):{hint} Known: {", ".join(known)}, or the path of a file.'
        )
    return _build_file(path)


def build_clip(state_dict):
    """Build OpenAI's model from a state dict without losing digits: (name -> tensor) -> CLIP in fp32.

    `clip.model.build_model` casts weights to fp16 before it copies them, which costs 1e-3 in the logits of
    weights that are not fp16 themselves. It therefore gets their shapes alone, zeros that take no memory, and they are
    copied into its fp32 module.
    """
    weights = {k: v for k, v in state_dict.items() if k not in _NOT_WEIGHTS}
    model = _build_model({k: torch.zeros(()).expand(v.shape) for k, v in weights.items()}).float()
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def _build_model(weights):
    if len(inspect.signature(build_model).parameters) == 1:
        return build_model(weights)
    # MaPLe's and PromptSRC's forks: this asks them for the plain model
    plain = {"trainer": "CoOp", "vision_depth": 0, "language_depth": 0, "vision_ctx": 0, "language_ctx": 0}
    return build_model(weights, plain)


def _build_file(path):
    state_dict = torch_file.load(
        path, "CLIP weights file", "fetch it again, or name another one", legacy=True, torchscript=True
    )
    if isinstance(state_dict, dict) and isinstance(state_dict.get("state_dict"), dict):
        state_dict = state_dict["state_dict"]
    try:
        _check(state_dict)
        rows = state_dict.get("token_embedding.rows")
        if rows is not None:
            state_dict = _restore_embedding(state_dict)
        model = build_clip(state_dict)
        model.known_tokens = rows  # (k,) those whose embedding was trained; None: all
        if model.context_length < CONTEXT_LENGTH:
            raise ValueError(f"it reads {model.context_length} tokens, and prompts have up to {CONTEXT_LENGTH}")
        if model.vocab_size < VOCABULARY:
            raise ValueError(f"it knows {model.vocab_size} tokens, and CLIP's text has {VOCABULARY}")
        return model
    except MemoryError:
        raise
    except Exception as error:  # OpenAI's build_model looks at nothing before it uses it
        reason = f"it has no {error}" if isinstance(error, KeyError) else textwrap.shorten(str(error), 200)
        raise UserError(
            f'"{path}" holds no CLIP in OpenAI\'s format ({reason or type(error).__name__}): name another file with '
            f"MODEL.BACKBONE.NAME."
        ) from error


def _check(state_dict):
    """Raise ValueError or KeyError for what is no state dict, half a CLIP, or one that is not finite."""
    if not isinstance(state_dict, dict):
        raise ValueError(f"it is a {type(state_dict).__name__}, not a dict of tensors")
    wrong = [str(k) for k, v in state_dict.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if wrong:
        raise ValueError(f'"{wrong[0]}" in it is no named tensor')
    for name in ("text_projection", "visual.conv1.weight", "logit_scale"):
        if name not in state_dict:
            raise KeyError(name)
    name = first_not_finite(state_dict.items())
    if name:
        raise ValueError(f"{name} is infinite or NaN")


def _restore_embedding(state_dict):
    """Fill in the token embedding of a file that stores only the rows that training touched."""
    state_dict = dict(state_dict)
    rows = state_dict.pop("token_embedding.rows")  # (k,) int64
    values = state_dict.pop("token_embedding.values").float()  # (k, width)
    shape = (int(state_dict["vocab_size"]), values.shape[1])
    table = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    table[rows] = values
    state_dict["token_embedding.weight"] = table
    return state_dict


def _openai_file(name, url, cache):
    digest, file_name = url.split("/")[-2:]
    path = os.path.join(cache, file_name)
    by_hand = f"fetch {url} (SHA-256 {digest}) by hand and pass its path as MODEL.BACKBONE.NAME."
    try:
        if os.path.isfile(path):
            with open(path, "rb") as f:
                found = hashlib.sha256(f.read()).hexdigest()
            if found == digest:
                return path
    except OSError as error:
        raise UserError(f'Weights of {name} at "{path}" cannot be read ({error.strerror}): {by_hand}') from error
    try:
        return clip.clip._download(url, cache)
    except (OSError, RuntimeError, TypeError, http.client.HTTPException) as error:  # TypeError: a server without sizes
        raise MissingFile(
            f"Weights of {name} are not in {cache} and cannot be downloaded ({error}): {by_hand}"
        ) from error


def fingerprint(clip_model):
    """A number that tells CLIPs apart whatever their files are called: checksum of the text projection."""
    return zlib.crc32(clip_model.text_projection.detach().float().cpu().numpy().tobytes())


def cast_weights(clip_model, dtype):
    """Cast the weights that do the work to `dtype`; layer and batch norms and embeddings stay fp32.

    OpenAI's own choice for fp16 (`clip.model.convert_weights`), for any dtype. In place.
    """
    for module in clip_model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.MultiheadAttention)):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
        for name in ("text_projection", "proj"):
            parameter = getattr(module, name, None)
            if isinstance(parameter, nn.Parameter):
                parameter.data = parameter.data.to(dtype)
    return clip_model
