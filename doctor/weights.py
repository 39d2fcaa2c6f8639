"""The backbone: whether its file is there, is OpenAI's, and holds a CLIP. Nothing is downloaded."""

import os
from collections.abc import Iterator

from trainers.backbone import openai_files
from trainers.backbone.clip_loader import load_clip

# isort: split
from clip.clip import _MODELS as URLS

from .findings import FAULT, NOTE, OK, Finding


def weights(name: str, activation: str = "") -> Iterator[Finding]:
    """name, activation: as MODEL.BACKBONE.NAME and .ACTIVATION."""
    if name.startswith(("hf:", "open_clip:")):
        os.environ["HF_HUB_OFFLINE"] = "1"  # of huggingface-hub, which reads it when it is imported
    url, path = URLS.get(name), os.path.expanduser(name)
    if url:
        path = openai_files.place_of(url)
        if not os.path.isfile(path):
            get = f"the first run downloads it; without a network fetch {url} to there"
            yield Finding(FAULT, "weights", f"{name} is not in {os.path.dirname(path)}", get)
            return
    if url or os.path.isfile(path):
        origin = _origin(path, name if url else "")
        yield origin
        if url and origin.level == FAULT:  # loading would download another
            return
    model = load_clip(name, activation)
    yield Finding(OK, "weights", f"activation {model.activation}")
    yield Finding(OK, "weights", geometry(model))


def _origin(path, name):
    """Whether a file is the one of OpenAI's that it is called, by `name` or by its own."""
    digest, file = openai_files.sha256(path), os.path.basename(path)
    found = next((known for known, url in URLS.items() if openai_files.digest_of(url) == digest), None)
    meant = name or next((known for known, url in URLS.items() if os.path.basename(url) == file), None)
    if found and meant in (None, found):
        return Finding(OK, "weights", f"{path} is OpenAI's {found} (SHA-256 {digest[:12]})")
    if meant:
        right = openai_files.digest_of(URLS[meant])
        text = f"{path} is not OpenAI's {meant}: its SHA-256 is {digest[:12]}..., not {right[:12]}..."
        return Finding(FAULT, "weights", text, f"delete it, and fetch {URLS[meant]}")
    return Finding(
        NOTE, "weights", f"{path} is no file of OpenAI's (SHA-256 {digest[:12]}): no published number is of it"
    )


def geometry(model) -> str:
    """Of a CLIP in OpenAI's layout, in words."""
    visual, text = model.visual, model.transformer
    if hasattr(visual, "transformer"):
        layers, patch = visual.transformer, visual.conv1.kernel_size[0]
        kind = f"ViT of {layers.layers} layers of {layers.width}, patches of {patch}"
    else:
        kind = "ResNet"
    size, dim = visual.input_resolution, model.text_projection.shape[1]
    return f"{kind}, pictures of {size} x {size}; text of {text.layers} layers of {text.width}; features of {dim}"
