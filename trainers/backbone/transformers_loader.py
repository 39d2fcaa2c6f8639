"""CLIPModels of transformers, read without transformers: `hf:OWNER/NAME` on the hub, or a folder.

Needed are config.json and the weights: model.safetensors, its shards, or pytorch_model.bin. How pictures are
normalised and which tokens there are say preprocessor_config.json and vocab.json (or the files of the same content of
transformers 5), if they are there.
"""

import math
import os
import re
from typing import Callable, Dict, List, Optional, Tuple

import torch

from ..errors import MissingFile, UserError
from ..files.edited_files import read_json
from .clip_weights import SAFETENSORS, VOCABULARY, ClipWeights, Pictures, read_file, refused

PREFIX = "hf:"
CONFIG = "config.json"
WEIGHTS = (f"model{SAFETENSORS}", f"model{SAFETENSORS}.index.json", "pytorch_model.bin")
END = VOCABULARY - 1  # end of text; configs of before 2023 say 2, and transformers then reads the highest token
# What transformers takes where a config says nothing (CLIPTextConfig, CLIPVisionConfig, CLIPImageProcessor)
BOTH = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
DEFAULTS = {
    "text": {**BOTH, "num_attention_heads": 8, "vocab_size": VOCABULARY, "eos_token_id": END},
    "vision": {**BOTH, "num_attention_heads": 12, "image_size": 224},
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PREPROCESSOR = {
    "do_resize": True,
    "size": None,  # 224; where a CLIP has another, so must its preprocessor
    "resample": 3,
    "do_center_crop": True,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
}  # do_convert_rgb: of a picture that is none a copy in RGB, which is made here in any case
RESAMPLED = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers that INPUT.INTERPOLATION has, too
ACTIVATIONS = {"quick_gelu": "quickgelu", "gelu": "gelu"}

Find = Callable[[str], Optional[str]]  # file name -> its path here; None: there is no such file


def read(name: str) -> ClipWeights:
    """name: `hf:OWNER/NAME`, or a folder with or without `hf:`.

    Raises UserError (MissingFile) for what cannot be fetched or read, is no CLIPModel, or cannot be right.
    """
    place = name[len(PREFIX) :] if name.startswith(PREFIX) else name
    folder = os.path.expanduser(place)
    find, files = _noting(_in_folder(folder) if os.path.isdir(folder) else _on_the_hub(place))
    config = _json(find(CONFIG), name, CONFIG)
    text, vision = ({**DEFAULTS[tower], **_said(config, tower)} for tower in ("text", "vision"))
    _check(name, config, text, vision)
    _check_tokens(name, find)
    return ClipWeights(
        _renamed(_tensors(find, name)),
        name,
        ACTIVATIONS[text["hidden_act"]],
        "hidden_act of its config.json" if "hidden_act" in _said(config, "text") else "transformers' default",
        "transformers' format",
        (vision["num_attention_heads"], text["num_attention_heads"]),
        _pictures(find, name, vision["image_size"]),
        files=files,
    )


# ---- finding files -----------------------------------------------------------------------------------------


def _noting(find: Find) -> Tuple[Find, List[str]]:
    """`find`, and a list of all that it will have found."""
    files = []

    def found(file):
        path = find(file)
        files.extend([] if path is None else [path])
        return path

    return found, files


def _in_folder(folder: str) -> Find:
    def find(file):
        path = os.path.join(folder, file)
        return path if os.path.isfile(path) else None

    return find


def _on_the_hub(repository: str) -> Find:
    try:
        import huggingface_hub as hub  # here: forks need not have it
    except ImportError as error:
        raise UserError(
            f'Backbone "{PREFIX}{repository}" needs huggingface_hub: pip install huggingface_hub.'
        ) from error
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    def find(file):
        try:
            return hub.hf_hub_download(repository, file)
        except Exception as error:  # of its own and of whatever library it fetches with
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if absent or _known_to_be_absent(hub, repository, file):
                return None
            raise MissingFile(
                f'"{file}" of "{PREFIX}{repository}" (MODEL.BACKBONE.NAME) is not in the cache of huggingface_hub and '
                f"cannot be fetched ({_short(error)}): correct the name, or give the path of a folder."
            ) from error

    return find


def _known_to_be_absent(hub, repository, file):
    try:
        return hub.try_to_load_from_cache(repository, file) is hub._CACHED_NO_EXIST
    except ValueError:  # no repository has such a name
        return False


def _first(find: Find, *files: str) -> Tuple[str, Optional[str]]:
    """The first of these files that there is, and its path; ("", None) if there is none.

    Raises MissingFile if offline none is in the cache, and of one it is not known whether there is such a file.
    """
    unknown = None
    for file in files:
        try:
            path = find(file)
        except MissingFile as error:
            unknown = unknown or error
            continue
        if path:
            return file, path
    if unknown:
        raise unknown
    return "", None


def _tensors(find: Find, name: str) -> Dict[str, torch.Tensor]:
    file, path = _first(find, *WEIGHTS)
    if path is None:
        raise MissingFile(f'"{name}" (MODEL.BACKBONE.NAME) has no {WEIGHTS[0]}: put it there.')
    if not file.endswith(".json"):
        return _read(name, file, path)
    shards = sorted(set(_json(path, name, file).get("weight_map", {}).values()))
    return {key: tensor for shard in shards for key, tensor in _read(name, shard, find(shard)).items()}


def _read(name, file, path):
    if path is None:
        raise MissingFile(f'"{name}" (MODEL.BACKBONE.NAME) has no {file}, which its index names: put it there.')
    content = read_file(path)
    if not isinstance(content, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise UserError(f'{file} of "{name}" holds something else than named tensors: fetch it again.')
    return content


def _json(path, name, file):
    if path is None:
        raise MissingFile(f'"{name}" (MODEL.BACKBONE.NAME) has no {file}: name a CLIPModel of transformers.')
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        return content
    except (OSError, ValueError) as error:
        raise UserError(f'{file} of "{name}" cannot be read ({_short(error)}): fetch it again.') from error


# ---- what it is --------------------------------------------------------------------------------------------


def _said(config, tower):
    """What the config says of a tower, as transformers reads it: old files have `text_config_dict`, which wins."""
    said = config.get(f"{tower}_config_dict")
    return said if said is not None else config.get(f"{tower}_config") or {}


def _check(name, config, text, vision):
    """Raise UserError for what is no CLIPModel whose layers and tokens are CLIP's."""
    size, activation, end = vision["image_size"], text["hidden_act"], text["eos_token_id"]
    eps = {tower["layer_norm_eps"] for tower in (text, vision)}
    reasons = {
        f"it is no CLIPModel (model_type is {config.get('model_type')!r})": config.get("model_type") != "clip",
        f"its activation is {activation!r}": activation not in ACTIVATIONS,
        "its two encoders have different activations": activation != vision["hidden_act"],
        f"its layer norms have layer_norm_eps {sorted(eps)}, and CLIP's 1e-5": eps != {1e-5},
        "its tokenizer is not CLIP's (vocab_size)": text["vocab_size"] != VOCABULARY,
        f"its text ends with token {end}, and CLIP's with {END}": end not in (END, 2),
        "its pictures are not square": not isinstance(size, int),
    }
    for reason, applies in reasons.items():
        if applies:
            raise refused(name, reason)


def _check_tokens(name, find):
    from clip.clip import _tokenizer  # here: clip_loader silences what its first import says

    file, path = _first(find, "vocab.json", "tokenizer.json")
    if path:
        tokens = _json(path, name, file)
        tokens = (tokens.get("model") or {}).get("vocab") if file == "tokenizer.json" else tokens
        if tokens != _tokenizer.encoder:
            raise refused(name, f"its tokenizer is not CLIP's ({file})")


def _pictures(find, name, size):
    """What the preprocessor makes of a picture, and settings here can say. Raises UserError for what none can."""
    file, path = _first(find, "preprocessor_config.json", "processor_config.json")
    if path is None:
        return Pictures(size)
    content = _json(path, name, file)
    content = content.get("image_processor") or content  # below that since transformers 5
    if not isinstance(content, dict):
        raise UserError(f'{file} of "{name}" has no keys and values below image_processor: fetch it again.')
    content = {key: value for key, value in content.items() if value is not None}
    said = {**PREPROCESSOR, "size": size, "crop_size": size, **content}
    for reason, applies in _other_pictures(content, said, size).items():
        if applies:
            raise refused(name, f"{reason} ({file})")
    if _sides(said["size"]) == (size, size) or said.get("use_square_size"):
        print(f"Note: {name} was trained on pictures squeezed into squares; here their shorter side is resized")
    # (factor p - mean) / std of bytes p is (p / 255 - mean / (255 factor)) / (std / (255 factor))
    scale = 255 * (said["rescale_factor"] if said["do_rescale"] else 1)
    mean, std = (said["image_mean"], said["image_std"]) if said["do_normalize"] else ((0.0,) * 3, (1.0,) * 3)
    if abs(scale - 1) > 1e-6:  # else the digits that are shown stay those of the file
        mean, std = ([value / scale for value in values] for values in (mean, std))
    return Pictures(size, mean, std, RESAMPLED[said["resample"]])


def _other_pictures(content, said, size) -> Dict[str, bool]:
    """Why pictures are others than settings here can make -> whether that applies. `content` is `said` by the file."""
    kind = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "CLIP")
    unsaid = [] if kind.startswith("CLIP") else [key for key in PREPROCESSOR if key not in content]  # others' defaults
    unknown = [key for key in said if key.startswith("do_") and key not in (*PREPROCESSOR, "do_convert_rgb")]
    sides, crop = _sides(said["size"]), _sides(said["crop_size"])
    numbers = {"image_mean": -math.inf, "image_std": 0}  # each number must be above
    wrong = [k for k, low in numbers.items() if not (_are_numbers(said[k], low) and len(said[k]) == 3)]
    wrong += [] if _are_numbers([said["rescale_factor"]], 0) else ["rescale_factor"]
    return {
        f"its preprocessor is a {kind}, and no {', '.join(unsaid)} is said": bool(unsaid),
        f"it does another thing with pictures: {', '.join(unknown)}": any(said[key] for key in unknown),
        "its pictures are enlarged before they are cropped (crop_pct)": "crop_pct" in content,
        f"{', '.join(wrong)} of its pictures are no such numbers": bool(wrong),
        f"its pictures are resized by a filter without a setting here, resample {said['resample']!r}": said["resample"]
        not in list(RESAMPLED),  # it may be of any type
        "its pictures are not resized (do_resize)": not said["do_resize"],
        f"its pictures are resized to {said['size']!r}, and it takes {size} pixels a side": sides
        not in (size, (size, size)),
        "its pictures are not cropped (do_center_crop)": not said["do_center_crop"] and sides == size,
        f"its pictures are cropped to {said['crop_size']!r}, and it takes {size} pixels a side": said["do_center_crop"]
        and crop not in (size, (size, size)),
    }


def _sides(size):
    """What `size` or `crop_size` asks for: n pixels of the shorter side, or (height, width); None if neither."""
    if isinstance(size, dict):
        keys = {key for key in size if size[key] is not None}
        if keys == {"shortest_edge"}:
            return size["shortest_edge"]
        return (size["height"], size["width"]) if keys == {"height", "width"} else None
    return size if not isinstance(size, (list, tuple)) else tuple(size)


def _are_numbers(values, low):
    numbers = isinstance(values, (list, tuple)) and all(type(value) in (int, float) for value in values)
    return numbers and all(low < value < math.inf for value in values)


# ---- OpenAI's names ----------------------------------------------------------------------------------------

NAMES = (  # in this order, regular expressions
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # transformers' own spelling
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.", ".attn."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
PROJECTIONS = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}


def _renamed(theirs):
    """A CLIPModel's tensors in OpenAI's names; what has no other name there keeps its own."""
    ours = {}
    for name, tensor in theirs.items():
        if name.endswith(".position_ids"):  # 0, 1, 2, ..., in files of before 2023
            continue
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        if name in PROJECTIONS:
            name, tensor = PROJECTIONS[name], tensor.t()
        ours[name] = tensor
    for query in [name for name in ours if ".attn.q_proj." in name]:
        parts = [query.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        if all(part in ours for part in parts):
            ours[query.replace(".q_proj.", ".in_proj_")] = torch.cat([ours.pop(part) for part in parts])
    return ours


def _short(error):
    return " ".join(str(error).split())[:200]
