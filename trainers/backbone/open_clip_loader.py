"""CLIPs of open_clip: `open_clip:ARCHITECTURE/TAG`, or `open_clip:ARCHITECTURE//path/to/file`.

open_clip names architectures and weights, fetches them, and says how its model treats a picture and two prompts; the
same weights in OpenAI's layout must give the same, or there is no backbone.
"""

import difflib
import os
from typing import Dict

import torch

from ..errors import MissingFile, UserError
from .clip_weights import CONTEXT_LENGTH, VOCABULARY, ClipWeights, Pictures, read_file, refused, script_activation

PREFIX = "open_clip:"
TOLERANCE = 3e-5  # relative, of features in fp32: rounding makes 1e-6, another activation 1e-2 [our choice]
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # in TorchScript archives


def read(name: str) -> ClipWeights:
    """Raises UserError (MissingFile) for an unknown name, what cannot be fetched or read, and what cannot be right."""
    try:
        import open_clip  # here: it takes seconds
    except ImportError as error:
        raise UserError(f'Backbone "{name}" needs open_clip: pip install open_clip_torch.') from error
    architecture, _, source = name[len(PREFIX) :].partition("/")
    config = _config_of(open_clip, name, architecture)
    for reason, applies in _reasons(config).items():
        if applies:
            raise refused(name, reason)
    path, pictures = _weights_of(open_clip, name, architecture, source, config)
    weights = read_file(path)
    model = open_clip.CLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    _fill(model.eval().requires_grad_(False), weights, path, architecture)
    del weights
    activation = _gelu(config)
    in_code = script_activation(path)
    if in_code not in ("", activation):
        raise UserError(
            f'"{path}" has {in_code} in its code, and open_clip\'s {architecture} has {activation}: name its own '
            f"architecture (with QuickGELU they end in -quickgelu)."
        )
    return ClipWeights(
        fold_layer_scale(model.state_dict()),
        name,
        activation,
        f"open_clip's architecture {architecture} says so",
        "open_clip's format",
        tuple(tower.transformer.resblocks[0].attn.num_heads for tower in (model.visual, model)),
        pictures,
        _same_features_as(model, pictures.size),
        [path],
    )


def _config_of(open_clip, name, architecture):
    config = open_clip.get_model_config(architecture)
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3) or ["ViT-B-16"]
        raise UserError(
            f'open_clip knows no architecture "{architecture}" ("{name}", MODEL.BACKBONE.NAME): write '
            f"{PREFIX}ARCHITECTURE/TAG, with an architecture such as {', '.join(near)}."
        )
    return config


def _reasons(config) -> Dict[str, bool]:
    """Why the CLIP of a config cannot be used -> whether that applies to it."""
    image, text = config["vision_cfg"], config["text_cfg"]
    custom = {"act_kwargs", "norm_kwargs"}
    return {
        "its text encoder is not causal, so that prompts cannot share their beginning": bool(
            text.get("no_causal_mask")
        ),
        "it is a CoCa, which reads another token of the text than CLIP": "multimodal_cfg" in config,
        "its text encoder is one of transformers'": "hf_model_name" in text,
        "its tokenizer is not CLIP's": bool({"hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode"} & text.keys())
        or text.get("vocab_size", VOCABULARY) != VOCABULARY,
        f"it reads fewer than {CONTEXT_LENGTH} tokens": text.get("context_length", CONTEXT_LENGTH) < CONTEXT_LENGTH,
        "its image encoder is one of timm's": "timm_model_name" in image,
        "its image encoder is no ViT": isinstance(image.get("layers"), (list, tuple)),
        "its layers have other norms or activations than CLIP's": bool(custom & {*image, *text}),
        "its pictures are not square": isinstance(image.get("image_size"), (list, tuple)),
        "its logits have a bias": config.get("init_logit_bias") is not None,
        "its text encoder is a module of its own (custom_text)": bool(config.get("custom_text")),
    }


def _weights_of(open_clip, name, architecture, source, config):
    """(path of the file, Pictures)"""
    size = config["vision_cfg"].get("image_size", 224)
    if source.startswith(("/", ".", "~")):
        return os.path.expanduser(source), Pictures(size)
    tag = open_clip.get_pretrained_cfg(architecture, source)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise UserError(
            f'open_clip knows no weights "{source}" of {architecture} ("{name}", MODEL.BACKBONE.NAME): its tags are '
            f"{tags}, and a file is {PREFIX}{architecture}//path/to/file."
        )
    if bool(tag.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = architecture.replace("-quickgelu", "") if config.get("quick_gelu") else f"{architecture}-quickgelu"
        raise UserError(
            f'"{name}" (MODEL.BACKBONE.NAME) has weights for {_gelu(tag)}, and an architecture with {_gelu(config)}: '
            f"write {PREFIX}{other}/{source}."
        )
    if tag.get("resize_mode", "shortest") not in ("shortest", "squash"):
        raise refused(name, f"its pictures are resized in another way (resize_mode {tag['resize_mode']})")
    if tag.get("resize_mode") == "squash":
        print(f"Note: {name} was trained on pictures squeezed into squares; here their shorter side is resized")
    try:
        path = open_clip.download_pretrained(tag)
    except Exception as error:  # of whatever library it fetches with
        raise MissingFile(
            f'Weights of "{name}" are not in the cache and cannot be fetched ({" ".join(str(error).split())}): fetch '
            f"them by hand and name {PREFIX}{architecture}//path/to/file."
        ) from error
    return path, Pictures(size, tag["mean"], tag["std"], tag.get("interpolation") or "bicubic")


def _gelu(config):
    return "quickgelu" if config.get("quick_gelu") else "gelu"


def _fill(model, weights, path, architecture):
    """Load a state dict, every tensor of it and of the model."""
    try:
        weights = {name: tensor for name, tensor in weights.items() if name not in NOT_WEIGHTS}
        if "logit_scale" in weights:
            weights["logit_scale"] = weights["logit_scale"].reshape(model.logit_scale.shape)  # () or (1,)
        model.load_state_dict(weights)
    except (AttributeError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f'"{path}" holds no weights of open_clip\'s {architecture} ({reason}): name its own.'
        ) from error


def fold_layer_scale(state_dict: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """LayerScale's factors multiplied into the layers whose outputs they scale, fp32; the names are OpenAI's then.

    gamma * (W x + b) = (gamma W) x + gamma b, for gamma (width,), W (width, n) and b (width,).
    """
    folded = dict(state_dict)
    for scale, scaled in (("ls_1.gamma", "attn.out_proj"), ("ls_2.gamma", "mlp.c_proj")):
        for name in [name for name in folded if name.endswith(scale)]:
            gamma, layer = folded.pop(name), name[: -len(scale)] + scaled
            folded[f"{layer}.weight"] = gamma[:, None] * folded[f"{layer}.weight"]
            folded[f"{layer}.bias"] = gamma * folded[f"{layer}.bias"]
    return folded


@torch.no_grad()
def _same_features_as(model, size):
    """A check of what is built: that it gives the same features of a picture of noise and of two prompts."""
    from clip import tokenize  # here: clip_loader silences what its first import says

    picture = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    tokens = tokenize(["a", "a photo of a polar bear."], context_length=model.context_length)
    expected = {"pictures": model.encode_image(picture), "text": model.encode_text(tokens)}

    @torch.no_grad()
    def check(clip_model):
        found = {"pictures": clip_model.encode_image(picture), "text": clip_model.encode_text(tokens)}
        for what, theirs in expected.items():
            difference = ((found[what] - theirs).norm() / theirs.norm()).item()
            if not difference < TOLERANCE:
                raise ValueError(f"its features of {what} would be off by {difference:.1g} of their length")

    return check
