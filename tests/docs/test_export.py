"""The lines of docs/export.md are run as they stand there; only the CLIP that they name is a tiny one."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from inference.api import load_run
from inference.export import export_run
from tests.conftest import REPOSITORY
from tests.golden.formula import clip_state_dict
from tests.tiny import GEOMETRY
from tests.trainers.methods import METHODS

# isort: split
import open_clip
import transformers

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/export.md").read_text(), flags=re.DOTALL)


@pytest.fixture
def open_clip_is_tiny(tmp_path, monkeypatch):
    create, g = open_clip.create_model, GEOMETRY
    config = {
        "embed_dim": g["embed_dim"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": g["image_resolution"],
            "patch_size": g["vision_patch_size"],
            "width": g["vision_width"],
            "layers": g["vision_layers"],
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": g["transformer_width"],
            "heads": 1,
            "layers": g["transformer_layers"],
        },
    }
    (tmp_path / "tiny-of-the-tests.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-of-the-tests.json")

    def create_model(name, pretrained):
        assert (name, pretrained) == ("ViT-B-16-quickgelu", "openai")
        model, weights = create("tiny-of-the-tests"), clip_state_dict(g=GEOMETRY)
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        return model

    monkeypatch.setattr(open_clip, "create_model", create_model)


@pytest.fixture
def transformers_is_tiny(monkeypatch):
    g, kind = GEOMETRY, transformers.CLIPVisionModelWithProjection
    config = transformers.CLIPVisionConfig(
        hidden_size=g["vision_width"],
        intermediate_size=4 * g["vision_width"],
        projection_dim=g["embed_dim"],
        num_hidden_layers=g["vision_layers"],
        num_attention_heads=1,
        image_size=g["image_resolution"],
        patch_size=g["vision_patch_size"],
    )

    def from_pretrained(name):
        assert name == "openai/clip-vit-base-patch16"
        model = kind(config).eval()
        model.load_state_dict(as_transformers(clip_state_dict(g=GEOMETRY)))
        return model

    monkeypatch.setattr(kind, "from_pretrained", from_pretrained)


def as_transformers(state):
    """The image side of a state dict in OpenAI's names, in those of transformers."""
    state = {name.partition(".")[2]: value for name, value in state.items() if name.startswith("visual.")}
    ours = {
        "embeddings.class_embedding": state.pop("class_embedding"),
        "embeddings.patch_embedding.weight": state.pop("conv1.weight"),
        "embeddings.position_embedding.weight": state.pop("positional_embedding"),
    }
    found = {"visual_projection.weight": state.pop("proj").t()}
    for name, value in state.items():
        name = name.replace("transformer.resblocks.", "encoder.layers.").replace("attn.", "self_attn.")
        for theirs, here in (("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"), ("ln_pre", "pre_layrnorm")):
            name = name.replace(theirs, here)
        name = name.replace("ln_post", "post_layernorm").replace("ln_", "layer_norm")
        if "in_proj_" in name:
            parts = zip("qkv", value.chunk(3))
            ours.update({name.replace("in_proj_", f"{part}_proj."): chunk for part, chunk in parts})
        else:
            ours[name] = value
    return {**found, **{f"vision_model.{name}": value for name, value in ours.items()}}


@pytest.mark.parametrize(
    "library, key, file",
    [
        ("open_clip", "coop", "coop.safetensors"),
        ("transformers", "coop", "coop.safetensors"),
        pytest.param("onnxruntime", "sep", "sep.onnx", marks=pytest.mark.long),
        pytest.param("torch.export", "sep", "sep.pt2", marks=pytest.mark.long),
    ],
)
def test_the_lines_give_the_runs_logits(
    library, key, file, run, open_clip_is_tiny, transformers_is_tiny, tmp_path, monkeypatch, capsys
):
    (block,) = [block for block in BLOCKS if f"{library}." in block]
    assert len([line for line in block.splitlines() if line and not re.match("import|from", line)]) <= 12
    folder = run(METHODS[key])[0]
    export_run(folder, str(tmp_path / file))
    side = 32 if library == "onnxruntime" else 90  # it says that it takes square pictures
    pixels = np.random.RandomState(0).randint(0, 256, (side, 32 if side == 32 else 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    lines = {}
    exec(block, lines)
    model = load_run(folder)
    expected = model.logits("a.png")
    torch.testing.assert_close(torch.as_tensor(lines["logits"]), expected, atol=1e-4, rtol=0)
    assert capsys.readouterr().out == model.classnames[expected.argmax()] + "\n"


def test_every_block_is_run():
    assert len(BLOCKS) == 4
