"""Load a CLIP: an OpenAI name, a weights file, the bundled `shapes-tiny`, or one of open_clip or transformers."""

import contextlib
import difflib
import hashlib
import inspect
import math
import os
import textwrap
import time
import warnings
import zlib
from typing import Any, Dict, Tuple

import torch
from torch import nn
from yacs.config import CfgNode as CN

from ..errors import MissingFile, UserError
from ..files.known_content import identities, noted
from ..precision import Precision, first_not_finite
from . import openai_files
from .clip_weights import (
    CONTEXT_LENGTH,
    SAFETENSORS,
    VOCABULARY,
    ClipWeights,
    read_file,
    script_activation,
    tensors_digest,
)

with warnings.catch_warnings():  # clip imports pkg_resources, whose deprecation no user can act on
    warnings.simplefilter("ignore")
    import clip
    from clip.model import build_model

OPENAIS_WIDEST = 1024  # channels of ViT-L/14

ASSETS = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "assets")
BUNDLED = {"shapes-tiny": "shapes-tiny.pt"}


def load_clip(name, activation=""):
    """Build a CLIP in fp32 on the CPU, in eval mode, without gradients.

    Beside OpenAI's attributes it has `activation`, what its layers have and why (text), `pictures`, the
    `clip_weights.Pictures` that it was trained on, or None, and `files`, the paths of all that it was made of.

    Args:
        name: OpenAI name ("ViT-B/16"), path of a weights file (OpenAI's JIT archive or a state dict in its names),
            "shapes-tiny", or what open_clip_loader.py and transformers_loader.py take.
        activation: "quickgelu" or "gelu", of the layers of a file that does not say; "" if it does.

    Raises:
        UserError: unknown name, a file that cannot be read or holds no CLIP, an activation that is not known or not
            what it says.
        MissingFile: no such file, or a download that cannot be made.
    """
    weights = _find(name)
    with _saying_that_it_is_none(weights):
        _check(weights.state_dict)
        if weights.heads is None and "visual.proj" in weights.state_dict:
            _check_width(weights)
    known = _activation(weights, activation)
    with _saying_that_it_is_none(weights):
        model = _build(weights, known, weights.why if weights.activation else "MODEL.BACKBONE.ACTIVATION")
        model.files = weights.files
        return model


def _find(name):
    """The `ClipWeights` that a name stands for."""
    urls, path = clip.clip._MODELS, os.path.expanduser(name)
    if name in BUNDLED:
        path = os.path.normpath(os.path.join(ASSETS, BUNDLED[name]))
        if not os.path.isfile(path):
            raise MissingFile(f'Weights of the bundled "{name}" are missing: put them back at "{path}".')
        return _of_file(path)
    if name in urls:
        path = openai_files.get(name, urls[name])
        return ClipWeights(read_file(path), name, "quickgelu", "as all of OpenAI's weights", files=[path])
    if name.startswith("open_clip:"):
        from . import open_clip_loader  # here, as transformers_loader: few names need them

        return open_clip_loader.read(name)
    if name.startswith("hf:") or os.path.isfile(os.path.join(path, "config.json")):
        from . import transformers_loader

        return transformers_loader.read(name)
    if os.path.isfile(path):
        return _of_file(path)
    if os.path.isdir(path):
        raise UserError(f'"{name}" (MODEL.BACKBONE.NAME) is a folder: name the weights file in it.')
    if name.endswith((".pt", ".pth", ".bin", ".tar", SAFETENSORS)) or os.path.dirname(name) not in ("", "ViT"):
        raise MissingFile(f'No weights file at "{name}" (MODEL.BACKBONE.NAME): correct the path.')
    known = list(urls) + list(BUNDLED)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f' did you mean "{near[0]}"?' if near else ""
    raise UserError(
        f'Unknown backbone "{name}" (MODEL.BACKBONE.NAME):{hint} Known: {", ".join(known)}, the path of a file, and '
        f"what docs/backbones.md says of open_clip: and hf:."
    )


def _of_file(path):
    state_dict = read_file(path)
    if isinstance(state_dict, dict) and "token_embedding.rows" in state_dict:
        return ClipWeights(state_dict, path, "quickgelu", "as tools/pretrain_shapes.py trains it", files=[path])
    return ClipWeights(state_dict, path, script_activation(path), "as the code in this archive", files=[path])


def _check_width(weights):
    """Raise UserError for a ViT wider than OpenAI's: its heads are not 64 wide, and the weights do not tell."""
    width = weights.state_dict["visual.conv1.weight"].shape[0]
    if width > OPENAIS_WIDEST:
        raise UserError(
            f'"{weights.where}" does not say how many heads the {width} channels of its layers have, which no CLIP of '
            f"OpenAI's has: name its architecture, as open_clip:ViT-H-14//path/to/file does."
        )


def _activation(weights, asked):
    """The activation of the layers. Raises UserError if nobody says, or two say different things."""
    if not (weights.activation or asked):
        raise UserError(
            f'"{weights.where}" does not say which activation its layers have: set MODEL.BACKBONE.ACTIVATION to '
            f"quickgelu (OpenAI's own weights) or gelu (most others, as LAION's)."
        )
    if asked and weights.activation and asked != weights.activation:
        raise UserError(
            f'MODEL.BACKBONE.ACTIVATION is {asked}, but the layers of "{weights.where}" have {weights.activation} '
            f"({weights.why}): leave the key empty."
        )
    return weights.activation or asked


def _build(weights, activation, why):
    state_dict = weights.state_dict
    rows = state_dict.get("token_embedding.rows")
    if rows is not None:
        state_dict = _restore_embedding(state_dict)
    model = build_clip(state_dict, activation, weights.heads)
    model.known_tokens = rows  # (k,) those whose embedding was trained; None: all
    if model.context_length < CONTEXT_LENGTH:
        raise ValueError(f"it reads {model.context_length} tokens, and prompts have up to {CONTEXT_LENGTH}")
    if model.vocab_size < VOCABULARY:
        raise ValueError(f"it knows {model.vocab_size} tokens, and CLIP's text has {VOCABULARY}")
    model.activation, model.pictures = f"{activation} ({why})", weights.pictures
    size = model.visual.input_resolution
    if weights.pictures and weights.pictures.size != size:
        raise ValueError(f"its pictures have {weights.pictures.size} pixels a side, and its positions are for {size}")
    if weights.check:
        weights.check(model)
    return model


@contextlib.contextmanager
def _saying_that_it_is_none(weights):
    """Inside, what fails says that these are no CLIP: OpenAI's build_model looks at nothing before it uses it."""
    try:
        yield
    except (MemoryError, UserError):
        raise
    except Exception as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else textwrap.shorten(str(error), 200)
        raise UserError(
            f'"{weights.where}" holds no CLIP in {weights.format} ({reason or type(error).__name__}): name another '
            f"file with MODEL.BACKBONE.NAME."
        ) from error


def build_clip(state_dict, activation="quickgelu", heads=None):
    """Build OpenAI's model from a state dict without losing digits: (name -> tensor) -> CLIP in fp32.

    `clip.model.build_model` casts weights to fp16 before it copies them, which costs 1e-3 in the logits of
    weights that are not fp16 themselves. It therefore gets their shapes alone, zeros that take no memory, and they are
    copied into its fp32 module.

    activation, heads: as in `ClipWeights`. With `heads` MLPs may be of any width.
    """
    weights = {k: v for k, v in state_dict.items() if k not in _NOT_WEIGHTS}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if heads:
        shapes.update(_openai_mlps(shapes))
    _check_sizes(shapes)
    model = _build_model({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}).float()
    for tower, n_heads in zip((model.visual, model), heads or (None, None)):
        for block in tower.transformer.resblocks if hasattr(tower, "transformer") else ():
            if activation == "gelu":
                block.mlp.gelu = nn.GELU()
            if n_heads:
                _set_heads(block.attn, n_heads)
    if heads:
        for name, block in model.named_modules():
            if name.endswith(".mlp"):
                hidden, width = weights[f"{name}.c_fc.weight"].shape
                block.c_fc, block.c_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def _check_sizes(shapes):
    """Raise ValueError unless a file holds about as many numbers as the model that is built.

    OpenAI's build_model looks at a few lengths: two tensors of a thousand may ask for one of a million.
    """
    vocabulary, context = _length(shapes, "token_embedding.weight"), _length(shapes, "positional_embedding")
    width, features = _length(shapes, "ln_final.weight"), shapes["text_projection"][1]
    n = (
        (vocabulary + context + features) * width
        + context**2
        + 12 * width**2 * _n_blocks(shapes, "transformer.resblocks")
    )
    if "visual.proj" in shapes:
        width, side = _length(shapes, "visual.conv1.weight"), shapes["visual.conv1.weight"][-1]
        n += (_length(shapes, "visual.positional_embedding") + features + 3 * side**2) * width
        n += 12 * width**2 * _n_blocks(shapes, "visual.transformer.resblocks")
    else:
        width = 32 * _length(shapes, "visual.layer1.0.conv1.weight")
        blocks = sum(_n_blocks(shapes, f"visual.layer{i}") for i in range(1, 5))
        n += (_length(shapes, "visual.attnpool.positional_embedding") + features + (4 + blocks) * width) * width
    held = sum(math.prod(shape) for shape in shapes.values())
    if n > 4 * held:
        raise ValueError(f"it holds {held} of about {n} numbers")


def _length(shapes, name):
    return shapes[name][0]


def _n_blocks(shapes, stack):
    return len({name[len(stack) + 1 :].split(".")[0] for name in shapes if name.startswith(f"{stack}.")})


def _openai_mlps(shapes):
    """Shapes of the MLPs that OpenAI's build_model makes: four times as wide as their layer."""
    found = {}
    for name in [name for name in shapes if name.endswith(".mlp.c_fc.weight")]:
        width, mlp = shapes[name][1], name[: -len("c_fc.weight")]
        found.update(
            {name: (4 * width, width), f"{mlp}c_fc.bias": (4 * width,), f"{mlp}c_proj.weight": (width, 4 * width)}
        )
    return found


def _set_heads(attn, n_heads):
    if attn.embed_dim % n_heads:
        raise ValueError(f"{n_heads} heads do not divide a layer of {attn.embed_dim}")
    attn.num_heads, attn.head_dim = n_heads, attn.embed_dim // n_heads


@contextlib.contextmanager
def _one_head_at_least():
    """Inside, layers narrower than 64, of which OpenAI's build_model makes no head, have one; see `_set_heads`.

    Forks name the layers around the attention otherwise (MMA's).
    """
    attention = nn.MultiheadAttention
    init = attention.__init__

    def with_one(self, embed_dim, num_heads, *args, **kwargs):
        init(self, embed_dim, max(1, num_heads), *args, **kwargs)

    attention.__init__ = with_one
    try:
        yield
    finally:
        attention.__init__ = init


def _build_model(weights):
    # MaPLe's and PromptSRC's forks have a second parameter: this asks them for the plain model
    plain = {"trainer": "CoOp", "vision_depth": 0, "language_depth": 0, "vision_ctx": 0, "language_ctx": 0}
    details = [plain] if len(inspect.signature(build_model).parameters) > 1 else []
    with _one_head_at_least():
        return build_model(weights, *details)


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
    if shape[0] > 2 * VOCABULARY:
        raise ValueError(f"its vocabulary has {shape[0]} tokens")
    table = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    table[rows] = values
    state_dict["token_embedding.weight"] = table
    return state_dict


def weights_digest(clip_model):
    """64 hexadecimal digits that tell CLIPs in fp32 apart, whatever their files are: all weights, heads, activation."""
    digest = tensors_digest(clip_model.state_dict())
    return hashlib.sha256(f"{digest} {_layers(clip_model)}".encode()).hexdigest()


def _layers(clip_model):
    """What weights do not say of each layer."""
    blocks = [*clip_model.transformer.resblocks]
    blocks += getattr(getattr(clip_model.visual, "transformer", None), "resblocks", [])  # a ResNet has none
    return [(type(block.mlp.gelu).__name__, block.attn.num_heads) for block in blocks]


def fingerprint(clip_model):
    """What runs remembered of a CLIP before there was `weights_digest`: a checksum of text projection and activation.

    QuickGELU adds nothing to it: the oldest of them knew no other.
    """
    weights = zlib.crc32(clip_model.text_projection.detach().float().cpu().numpy().tobytes())
    gelu = isinstance(clip_model.transformer.resblocks[0].mlp.gelu, nn.GELU)
    return zlib.crc32(b"gelu", weights) if gelu else weights


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


def frozen_clip(
    cfg: CN, precision: Precision, device: torch.device, notes: str = ""
) -> Tuple[nn.Module, Dict[str, Any]]:
    """The run's CLIP, on the device and in its precision, and what is to be remembered of it.

    notes: folder where what is known of its file is noted (files/known_content.py); "" for none.
    """
    name, since = cfg.MODEL.BACKBONE.NAME, time.time_ns()
    print(f"Loading CLIP (backbone: {name})")
    clip_model = load_clip(name, cfg.MODEL.BACKBONE.ACTIVATION)
    print(f"Activation of the backbone: {clip_model.activation}")
    # The number of heads of a CLIP that does not say it may be another one with other versions of our code
    what = f"CLIP {clip_model.activation} {_layers(clip_model)}"
    weights = noted(
        clip_model.files, notes if clip_model.files else "", what, lambda: weights_digest(clip_model), since
    )
    backbone = {
        "name": name,
        "fingerprint": fingerprint(clip_model),
        "weights": weights or weights_digest(clip_model),
        "files": identities(clip_model.files) or [],
    }
    return cast_weights(clip_model, precision.encoder_dtype).to(device), backbone
