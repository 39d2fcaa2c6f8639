"""CLIPs of open_clip give open_clip's own features, and what would give others is refused."""

import json
import sys

import clip
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import raiser
from tests.families import MEAN, OPEN_CLIP, STD
from tests.tiny import CLASSNAMES
from trainers.backbone.clip_loader import load_clip
from trainers.errors import MissingFile, UserError
from trainers.prompting.encoders import ImageEncoder
from trainers.prompting.model import encode_prompts, normalise

TEMPLATE = "a photo of a {}."


@pytest.fixture
def image():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def register(open_clip_folder, tmp_path):
    """register(name, change of OPEN_CLIP) adds an architecture with random weights; returns the backbone's name."""
    import open_clip

    def add(name, change):
        config = json.loads(json.dumps(OPEN_CLIP))
        change(config)
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(tmp_path / f"{name}.json")
        config.pop("custom_text", None)
        torch.save(open_clip.CLIP(**config).state_dict(), tmp_path / "weights.pt")
        return f"open_clip:{name}/{tmp_path}/weights.pt"

    yield add
    open_clip.factory._MODEL_CONFIG_PATHS[:] = [
        p for p in open_clip.factory._MODEL_CONFIG_PATHS if p.parent != tmp_path
    ]


def test_features_are_the_librarys_own(family, image):
    """On the walks that the methods use; see docs/backbones.md for true geometry."""
    clip_model = load_clip(family.name)
    tokens = clip.tokenize([TEMPLATE.format(name.replace("_", " ")) for name in CLASSNAMES])
    with torch.no_grad():
        theirs = family.image(image)
        torch.testing.assert_close(ImageEncoder(clip_model.visual)(image), theirs, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip_model.encode_text(tokens), family.text(tokens), atol=1e-5, rtol=0)
        text = encode_prompts(clip_model, [TEMPLATE], CLASSNAMES)
        torch.testing.assert_close(text, normalise(family.text(tokens)), atol=1e-5, rtol=0)
    assert clip_model.logit_scale == family.model.logit_scale


def test_what_it_says_of_itself(tiny_open_clip, open_clip_folder):
    tag, file = load_clip(tiny_open_clip.name), load_clip(f"open_clip:tiny/{open_clip_folder}/weights.pt")
    assert tag.activation == file.activation == "gelu (open_clip's architecture tiny says so)"
    assert tag.pictures == (32, MEAN, STD, "bilinear") and file.pictures == (32, None, None, None)
    assert not tag.training and not any(p.requires_grad for p in tag.parameters())
    quick = load_clip(f"open_clip:tiny-quickgelu/{open_clip_folder}/weights.pt")
    assert quick.activation.startswith("quickgelu")
    assert isinstance(quick.visual.transformer.resblocks[2].mlp.gelu, clip.model.QuickGELU)


def test_files_of_its_trainings(tiny_open_clip, tmp_path, image):
    """DistributedDataParallel's names, half precision, logit_scale of one dimension, safetensors."""
    state = tiny_open_clip.model.state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 1, "state_dict": wrapped, "optimizer": {}}, tmp_path / "epoch_1.pt")
    save_file({**state, "logit_scale": state["logit_scale"].reshape(1)}, tmp_path / "a.safetensors")
    for name in ("epoch_1.pt", "a.safetensors"):
        clip_model = load_clip(f"open_clip:tiny/{tmp_path}/{name}")
        torch.testing.assert_close(clip_model.encode_image(image), tiny_open_clip.image(image), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
def test_an_archive_whose_code_has_another_activation(tiny_open_clip, tmp_path):
    example = (torch.zeros(1, 3, 32, 32), clip.tokenize(["a"]))
    torch.jit.save(torch.jit.trace(tiny_open_clip.model, example, check_trace=False), tmp_path / "jit.pt")
    assert load_clip(f"open_clip:tiny/{tmp_path}/jit.pt").activation.startswith("gelu")
    with pytest.raises(UserError, match="jit.pt. has gelu in its code, and open_clip's tiny-quickgelu has quickgelu"):
        load_clip(f"open_clip:tiny-quickgelu/{tmp_path}/jit.pt")


def test_weights_of_another_activation_than_the_architectures(open_clip_folder):
    with pytest.raises(UserError, match="weights for gelu, .*with quickgelu: write open_clip:tiny/noise"):
        load_clip("open_clip:tiny-quickgelu/noise")
    with pytest.raises(
        UserError, match="weights for quickgelu, .*with gelu: write open_clip:ViT-B-16-quickgelu/openai"
    ):
        load_clip("open_clip:ViT-B-16/openai")
    with pytest.raises(
        UserError, match="ACTIVATION is quickgelu, but the layers of .* have gelu .*leave the key empty"
    ):
        load_clip("open_clip:tiny/noise", "quickgelu")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("ViT-B-16-SigLIP/webli", "its text encoder is not causal"),
        ("ViT-H-14-CLIPA/datacomp1b", "its text encoder is not causal"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "it is a CoCa"),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", "its text encoder is one of transformers'"),
        ("ViT-L-14-worldwide/metaclip2_worldwide", "its tokenizer is not CLIP's"),
        ("EVA02-B-16/merged2b_s8b_b131k", "its image encoder is one of timm's"),
        ("RN50/openai", "its image encoder is no ViT"),
    ],
)
def test_families_that_cannot_be_right(name, reason):
    with pytest.raises(UserError, match=f'^Backbone "open_clip:{name}" cannot be used, as {reason}.*docs/backbones.md'):
        load_clip(f"open_clip:{name}")


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda c: c["text_cfg"].update(no_causal_mask=True), "not causal"),
        (lambda c: c["text_cfg"].update(vocab_size=49409), "its tokenizer is not CLIP's"),
        (lambda c: c["text_cfg"].update(act_kwargs={"approximate": "tanh"}), "other norms or activations"),
        (lambda c: c["vision_cfg"].update(norm_kwargs={"eps": 1e-3}), "other norms or activations"),
        (lambda c: c.update(init_logit_bias=-10), "its logits have a bias"),
        (lambda c: c.update(custom_text=True), "module of its own"),
        (lambda c: c["vision_cfg"].update(image_size=[32, 64]), "not square"),
        (lambda c: c["text_cfg"].update(context_length=7), "it reads fewer than 77 tokens"),
        # What no line of the loader knows shows in names or in features
        (lambda c: c["vision_cfg"].update(pool_type="avg"), "features of pictures would be off by"),
        (lambda c: c["vision_cfg"].update(no_ln_pre=True), "ln_pre"),
        (lambda c: c["vision_cfg"].update(attentional_pool=True), "attn_pool"),
        (lambda c: c["vision_cfg"].update(scale_attn=True), "ln_attn"),
        (lambda c: c["text_cfg"].update(pool_type="last"), "features of text would be off by"),
        (lambda c: c["text_cfg"].update(qk_norm=True), "ln_q"),
        (lambda c: c["text_cfg"].update(proj_bias=True), "text_projection"),
        (lambda c: c["text_cfg"].update(proj_type="none"), "text_projection"),
    ],
)
def test_options_that_cannot_be_right(register, change, reason, request):
    name = register(f"odd{abs(hash(request.node.name))}", change)
    with pytest.raises(UserError, match=reason) as raised:
        load_clip(name)
    assert "\n" not in str(raised.value)


def test_options_that_change_nothing(register, image):
    """Patches are dropped in open_clip's own training alone, and its norm before or after the pooling is the same."""

    def change(config):
        config["vision_cfg"].update(patch_dropout=0.5, final_ln_after_pool=True, pos_embed_type="sin_cos_2d")
        config["text_cfg"].update(context_length=90, pool_type="eos", eos_id=49407)

    assert load_clip(register("same", change)).context_length == 90


def test_unknown_names(open_clip_folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match='no architecture "ViT-B16".*such as ViT-B-16'):
        load_clip("open_clip:ViT-B16/laion2b_s34b_b88k")
    with pytest.raises(UserError, match='no weights "laion2b" of ViT-B-16 .*laion2b_s34b_b88k.*//path/to/file'):
        load_clip("open_clip:ViT-B-16/laion2b")
    with pytest.raises(MissingFile, match="none.pt. does not exist"):
        load_clip(f"open_clip:tiny/{tmp_path}/none.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    for file in ("other.pt", "list.pt"):
        with pytest.raises(UserError, match=f'{file}" holds no weights of open_clip.s tiny .*: name its own.'):
            load_clip(f"open_clip:tiny/{tmp_path}/{file}")
    (tmp_path / "bad.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="bad.safetensors. is damaged or no safetensors"):
        load_clip(f"open_clip:tiny/{tmp_path}/bad.safetensors")

    import open_clip

    monkeypatch.setattr(open_clip, "download_pretrained", raiser(OSError("no route\nto host")))
    with pytest.raises(
        MissingFile, match="not in the cache and cannot be fetched .no route to host.: .*//path/to/file"
    ):
        load_clip("open_clip:ViT-B-16/laion2b_s34b_b88k")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        UserError, match='^Backbone "open_clip:tiny/noise" needs open_clip: pip install open_clip_torch'
    ):
        load_clip("open_clip:tiny/noise")


def test_a_squeezed_picture_is_noted(open_clip_folder, monkeypatch, capsys):
    from open_clip import pretrained

    monkeypatch.setitem(pretrained._PRETRAINED["tiny"]["noise"], "resize_mode", "squash")
    load_clip("open_clip:tiny/noise")
    assert "open_clip:tiny/noise was trained on pictures squeezed into squares" in capsys.readouterr().out
    monkeypatch.setitem(pretrained._PRETRAINED["tiny"]["noise"], "resize_mode", "longest")
    with pytest.raises(UserError, match="resized in another way .resize_mode longest."):
        load_clip("open_clip:tiny/noise")
