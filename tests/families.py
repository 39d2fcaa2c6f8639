"""CLIPs of other libraries, so small that whole runs take a second, with random weights."""

import json
import math
from typing import Any, NamedTuple

import pytest
import torch

# With what OpenAI's CLIPs do not have: LayerScale, GELU, heads and MLPs of other widths, another normalisation
OPEN_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 8,
        "width": 64,
        "layers": 3,
        "head_width": 16,
        "mlp_ratio": 3.5,
        "ls_init_value": 0.1,
    },
    "text_cfg": {"width": 64, "layers": 2, "heads": 4, "ls_init_value": 0.1},
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


class Family(NamedTuple):
    name: str  # MODEL.BACKBONE.NAME
    model: Any  # the library's own
    image: Any  # pictures (n, 3, 32, 32) -> features (n, 32)
    text: Any  # tokens (n, 77) -> features (n, 32)

    @property
    def options(self):
        """KEY, value, ... of a run on it."""
        normalisation = ("INPUT.PIXEL_MEAN", MEAN, "INPUT.PIXEL_STD", STD)
        return ("MODEL.BACKBONE.NAME", self.name, "MODEL.BACKBONE.ACTIVATION", "", *normalisation)


@torch.no_grad()
def fill(model):
    """Weights of a size that makes every part count; returns the model, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.named_parameters():
        if tensor.dim() == 0:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("gamma"):  # LayerScale
            tensor.copy_(0.6 + 0.2 * noise)
        elif tensor.dim() == 1:
            tensor.copy_(0.1 * noise + (1 if name.endswith("weight") else 0))
        else:
            tensor.copy_(noise / math.sqrt(math.prod(tensor.shape[1:])))
    return model.eval()


@pytest.fixture(scope="session")
def open_clip_folder(tmp_path_factory):
    """A folder with weights.pt, for open_clip's architectures tiny and tiny-quickgelu; tiny has a tag, noise."""
    import open_clip  # here: it takes seconds
    from open_clip import pretrained

    folder = tmp_path_factory.mktemp("open_clip")
    for name, more in (("tiny", {}), ("tiny-quickgelu", {"quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps({**OPEN_CLIP, **more}))
    open_clip.add_model_config(folder)
    torch.save(fill(open_clip.CLIP(**open_clip.get_model_config("tiny"))).state_dict(), folder / "weights.pt")
    said = {
        "file": str(folder / "weights.pt"),
        "mean": MEAN,
        "std": STD,
        "interpolation": "bilinear",
        "resize_mode": "shortest",
    }
    pretrained._PRETRAINED["tiny"] = {"noise": said}
    pretrained._PRETRAINED["tiny-quickgelu"] = {"noise": said}  # weights for GELU
    return folder


@pytest.fixture(scope="session")
def tiny_open_clip(open_clip_folder):
    import open_clip

    model = open_clip.CLIP(**open_clip.get_model_config("tiny")).eval()
    model.load_state_dict(torch.load(open_clip_folder / "weights.pt", weights_only=True))
    return Family("open_clip:tiny/noise", model, model.encode_image, model.encode_text)


def tiny_clip_model(**common):
    """A CLIPModel of transformers; common: keys of the configs of both encoders."""
    from transformers import CLIPConfig, CLIPModel

    common = {"hidden_size": 64, "hidden_act": "gelu", "projection_dim": 32, **common}
    text = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 160}
    vision = {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 200}
    vision.update(image_size=32, patch_size=8)
    config = {"text_config": {**text, **common}, "vision_config": {**vision, **common}, "projection_dim": 32}
    return fill(CLIPModel(CLIPConfig(**config)))


@pytest.fixture(scope="session")
def tiny_transformers(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("transformers"), tiny_clip_model()
    model.save_pretrained(folder)
    said = {"image_mean": MEAN, "image_std": STD, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return Family(
        str(folder),
        model,
        lambda image: model.get_image_features(image).pooler_output,
        lambda tokens: model.get_text_features(tokens).pooler_output,
    )


@pytest.fixture(params=["tiny_open_clip", "tiny_transformers"])
def family(request):
    return request.getfixturevalue(request.param)
