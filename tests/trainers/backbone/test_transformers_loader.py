"""CLIPModels of transformers, from a folder and from the hub's cache; features: test_open_clip_loader.py."""

import contextlib
import io
import json
import re
import subprocess
import sys

import clip
import numpy as np
import pytest
import torch
from clip.clip import _tokenizer
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from tests.conftest import REPOSITORY
from tests.families import MEAN, STD, tiny_clip_model
from trainers.backbone.clip_loader import fingerprint, load_clip
from trainers.backbone.transformers_loader import END, _in_folder, _pictures
from trainers.errors import MissingFile, UserError


@pytest.fixture
def folder(tmp_path, tiny_transformers):
    tiny_transformers.model.save_pretrained(tmp_path)
    return tmp_path


def change(folder, file="config.json", **more):
    """Merge into a JSON file there: `text_config={...}` into that dict of it."""
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    for key, value in more.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


def test_what_it_says_of_itself(tiny_transformers, folder):
    said, silent = load_clip(tiny_transformers.name), load_clip(f"hf:{folder}")
    assert said.activation == "gelu (hidden_act of its config.json)" and said.pictures == (32, MEAN, STD, "bilinear")
    assert silent.pictures == (32, None, None, None)
    assert not said.training and not any(p.requires_grad for p in said.parameters())


def test_quickgelu(tmp_path):
    """Also where the config says nothing, as transformers itself has it."""
    model, image = tiny_clip_model(hidden_act="quick_gelu"), torch.randn(2, 3, 32, 32)
    model.save_pretrained(tmp_path)
    expected, first = model.get_image_features(image).pooler_output, load_clip(str(tmp_path))
    torch.testing.assert_close(first.encode_image(image), expected, atol=1e-5, rtol=0)
    assert first.activation == "quickgelu (hidden_act of its config.json)"
    config = json.loads((tmp_path / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        del config[tower]["hidden_act"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load_clip(str(tmp_path))
    assert again.activation == "quickgelu (transformers' default)" and fingerprint(again) == fingerprint(first)


def test_old_configs_have_a_second_place_which_wins(folder):
    from transformers import CLIPModel

    for tower, heads in (("text", 4), ("vision", 2)):
        said = json.loads((folder / "config.json").read_text())[f"{tower}_config"]
        change(folder, **{f"{tower}_config_dict": {**said, "hidden_act": "quick_gelu", "num_attention_heads": heads}})
    theirs, ours, image = CLIPModel.from_pretrained(folder).eval(), load_clip(str(folder)), torch.randn(2, 3, 32, 32)
    expected = theirs.get_image_features(image).pooler_output
    torch.testing.assert_close(ours.encode_image(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "shards"])
def test_other_files_of_weights(folder, tiny_transformers, file):
    (folder / "model.safetensors").unlink()
    if file == "shards":
        tiny_transformers.model.save_pretrained(folder, max_shard_size="1MB")
        assert len(list(folder.glob("model-*.safetensors"))) > 1
    else:
        old = {"text_model.embeddings.position_ids": torch.arange(77)[None]}  # as of 2022
        torch.save({**tiny_transformers.model.state_dict(), **old}, folder / file)
    expected, found = (load_clip(name).state_dict() for name in (tiny_transformers.name, str(folder)))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_same_backbone_as_the_same_weights_in_openais_names(tmp_path):
    """What is trained on openai/clip-vit-base-patch16 is tested on ViT-B/16."""
    tiny_clip_model(hidden_act="quick_gelu", intermediate_size=256, num_attention_heads=1).save_pretrained(tmp_path)
    theirs = load_clip(str(tmp_path))
    torch.save(theirs.state_dict(), tmp_path / "same.pt")
    ours, image = load_clip(str(tmp_path / "same.pt"), "quickgelu"), torch.randn(2, 3, 32, 32)
    assert fingerprint(ours) == fingerprint(theirs)
    assert torch.equal(ours.encode_image(image), theirs.encode_image(image))


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"model_type": "siglip"}, "it is no CLIPModel .model_type is 'siglip'."),
        ({"model_type": None}, "it is no CLIPModel"),
        ({"text_config": {"hidden_act": "gelu_new"}}, "its activation is 'gelu_new'"),
        ({"text_config": {"hidden_act": "quick_gelu"}}, "different activations"),
        ({"vision_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps"),
        ({"text_config": {"vocab_size": 49409}}, "its tokenizer is not CLIP's"),
        ({"text_config": {"eos_token_id": 3}}, "ends with token 3"),
        ({"vision_config": {"image_size": [32, 32]}}, "not square"),
        ({"vision_config": {"image_size": 64}}, "64 pixels a side, and its positions are for 32"),
        ({"vision_config": {"num_attention_heads": 5}}, "5 heads do not divide"),
    ],
)
def test_what_cannot_be_right(folder, more, reason):
    change(folder, **more)
    with pytest.raises(UserError, match=reason) as raised:
        load_clip(str(folder))
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)


def test_legacy_end_of_text(folder, tiny_transformers):
    """Configs of before 2023 have 2, and transformers reads the highest token, as CLIP does."""
    change(folder, text_config={"eos_token_id": 2})
    from transformers import CLIPModel

    tokens = clip.tokenize(["a photo of a cat."])
    expected = CLIPModel.from_pretrained(folder).eval().get_text_features(tokens).pooler_output
    torch.testing.assert_close(load_clip(str(folder)).encode_text(tokens), expected, atol=1e-5, rtol=0)


def test_tokenizers(folder):
    assert _tokenizer.encoder["<|endoftext|>"] == END
    (folder / "vocab.json").write_text(json.dumps(_tokenizer.encoder))
    load_clip(str(folder))
    (folder / "vocab.json").write_text(json.dumps({**_tokenizer.encoder, "cat</w>": 1}))
    with pytest.raises(UserError, match="its tokenizer is not CLIP's .vocab.json."):
        load_clip(str(folder))
    (folder / "vocab.json").unlink()
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"cat": 0}}}))
    with pytest.raises(UserError, match="its tokenizer is not CLIP's .tokenizer.json."):
        load_clip(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": _tokenizer.encoder}}))
    load_clip(str(folder))


def test_processors_of_transformers_5(folder):
    change(folder, "processor_config.json", image_processor={"image_mean": MEAN, "image_std": STD})
    assert load_clip(str(folder)).pictures == (32, MEAN, STD, "bicubic")
    change(folder, "preprocessor_config.json", do_normalize=False)
    assert load_clip(str(folder)).pictures == (32, (0, 0, 0), (1, 1, 1), "bicubic")


OTHERS = {  # a key of preprocessor_config.json -> the values that it may have
    "do_resize": [True, False],
    "resample": [0, 1, 2, 3, 4, 5],
    "size": [
        32,
        {"shortest_edge": 32},
        {"shortest_edge": 36},
        {"height": 32, "width": 32},
        {"height": 32, "width": 40},
    ],
    "do_center_crop": [True, False],
    "crop_size": [32, {"height": 32, "width": 32}, {"height": 24, "width": 24}],
    "do_rescale": [True, False],
    "rescale_factor": [1 / 255, 1 / 127.5, 1.0],
    "do_normalize": [True, False],
    "image_mean": [MEAN, [0.0, 0.0, 0.0]],
    "image_std": [STD, [1.0, 1.0, 1.0]],
    "do_convert_rgb": [True, False],
}
PICTURE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (50, 40, 3), dtype=np.uint8))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in OTHERS.items()}))
def test_pictures_are_the_processors_or_refused(folder, said):
    """With the settings that a run is told to have."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            pictures = _pictures(_in_folder(folder), "a", 32)
    except UserError as error:
        assert re.search(r"cannot be used, as its p.* .preprocessor_config.json.: docs/backbones.md lists", str(error))
        assert said.keys() & {"do_resize", "resample", "size", "do_center_crop", "crop_size"}
        return
    cfg = get_cfg_default().INPUT
    cfg.SIZE, cfg.PIXEL_MEAN, cfg.PIXEL_STD, cfg.INTERPOLATION = (32, 32), *pictures[1:]
    cfg.TRANSFORMS = ["normalize"]
    with contextlib.redirect_stdout(io.StringIO()):
        ours = build_transform(CfgNode({"INPUT": cfg}), is_train=False)(PICTURE)
    defaults = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    theirs = CLIPImageProcessorPil(**{**defaults, **said})(PICTURE, return_tensors="pt").pixel_values[0].float()
    if "squeezed into squares" in printed.getvalue():
        assert "height" in said["size"]
    else:
        torch.testing.assert_close(ours, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    "said, reason",
    [
        ({"do_flip_channel_order": True}, "it does another thing with pictures: do_flip_channel_order"),
        ({"crop_pct": 0.9}, "enlarged before they are cropped"),
        ({"image_processor_type": "ViTImageProcessor", "resample": 3}, "its preprocessor is a ViT.*, and no do_resize"),
        ({"image_mean": 0.5}, "image_mean of its pictures are no such numbers"),
        ({"image_mean": [0, 0, "0"], "image_std": [1, 1, 0]}, "image_mean, image_std of its pictures are no such"),
        ({"rescale_factor": 0}, "rescale_factor of its pictures"),
        ({"resample": "bicubic"}, "a filter without a setting here, resample 'bicubic'"),
        ({"size": {"longest_edge": 32}}, "its pictures are resized to"),
        ({"size": "32"}, "its pictures are resized to '32', and it takes 32"),
    ],
)
def test_what_no_setting_says(folder, said, reason):
    change(folder, "preprocessor_config.json", **said)
    with pytest.raises(UserError, match=reason):
        load_clip(str(folder))


@pytest.mark.parametrize("width, heads", [(32, 4), (48, 1), (16, 2), (96, 3)])
def test_heads_are_those_of_the_config(tmp_path, width, heads):
    """Also of towers so narrow that OpenAI's have none of 64."""
    model = tiny_clip_model(hidden_size=width, num_attention_heads=heads)
    model.save_pretrained(tmp_path)
    loaded, image = load_clip(str(tmp_path)), torch.randn(2, 3, 32, 32)
    tokens = clip.tokenize(["a cat", "two dogs"])
    image_features, text_features = model.get_image_features(image), model.get_text_features(tokens)
    torch.testing.assert_close(loaded.encode_image(image), image_features.pooler_output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded.encode_text(tokens), text_features.pooler_output, atol=1e-5, rtol=1e-5)


def test_half_a_folder(folder, tiny_transformers):
    (folder / "config.json").rename(folder / "other.json")
    with pytest.raises(UserError, match="is a folder: name the weights file in it"):
        load_clip(str(folder))
    with pytest.raises(MissingFile, match="has no config.json"):
        load_clip(f"hf:{folder}")
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="config.json of .* cannot be read .it holds a list.: fetch it again"):
        load_clip(str(folder))
    (folder / "other.json").rename(folder / "config.json")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="model.safetensors. is damaged"):
        load_clip(str(folder))
    weights.unlink()
    with pytest.raises(MissingFile, match="has no model.safetensors: put it there"):
        load_clip(str(folder))
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pytorch_model.bin of .* holds something else than named tensors"):
        load_clip(str(folder))
    state = tiny_transformers.model.state_dict()
    del state["text_model.encoder.layers.1.self_attn.k_proj.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no CLIP in transformers' format .*in_proj_weight"):
        load_clip(str(folder))
    change(folder, "model.safetensors.index.json", weight_map={"a": "model-1.safetensors"})
    with pytest.raises(MissingFile, match="has no model-1.safetensors, which its index names"):
        load_clip(str(folder))


@pytest.fixture
def hub(monkeypatch):
    """hub(files, absent) plays huggingface_hub without a network: what its cache has, and knows not to exist."""
    import huggingface_hub

    def play(files, absent=()):
        def download(repository, file):
            if file in files:
                return str(files[file])
            raise LocalEntryNotFoundError(f"cannot reach the hub for {file}")

        def cached(repository, file):
            return huggingface_hub._CACHED_NO_EXIST if file in absent else None

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)

    return play


def test_from_the_hubs_cache(hub, tiny_transformers, folder):
    files = {name: folder / name for name in ("config.json", "model.safetensors")}
    absent = {"vocab.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json"}
    hub(files, absent)
    assert load_clip("hf:somebody/clip").activation.startswith("gelu")
    hub(files, absent - {"preprocessor_config.json"})  # its normalisation may be any
    with pytest.raises(MissingFile, match='"preprocessor_config.json" of "hf:somebody/clip" .* not in the cache'):
        load_clip("hf:somebody/clip")
    torch.save(tiny_transformers.model.state_dict(), folder / "pytorch_model.bin")
    hub({"config.json": files["config.json"], "pytorch_model.bin": folder / "pytorch_model.bin"}, absent)
    load_clip("hf:somebody/clip")  # no one knows whether it has safetensors, but these weights are here
    hub({"config.json": files["config.json"]}, absent)
    with pytest.raises(MissingFile, match='"model.safetensors" of "hf:somebody/clip" .* not in the cache'):
        load_clip("hf:somebody/clip")
    hub({})
    with pytest.raises(MissingFile, match='"config.json" of "hf:somebody/clip".*cannot reach .* path of a folder'):
        load_clip("hf:somebody/clip")


def test_a_name_that_no_repository_has(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingFile, match="hf:a/b/c"):
        load_clip("hf:a/b/c")


def test_without_what_it_needs(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError, match="needs safetensors, which is not installed: pip install safetensors"):
        load_clip(str(folder))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match='"hf:a/b" needs huggingface_hub: pip install huggingface_hub'):
        load_clip("hf:a/b")


def test_neither_library_is_imported_where_it_is_not_needed(tiny_transformers):
    code = (
        "import sys, train; from trainers.backbone.clip_loader import load_clip; "
        f"load_clip('shapes-tiny'); load_clip({tiny_transformers.name!r}); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "safetensors" in done.stdout.split() and not {"open_clip", "transformers"} & set(done.stdout.split())
