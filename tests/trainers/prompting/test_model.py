import clip
import pytest
import torch

from trainers.backbone.clip_loader import load_clip
from trainers.backbone.clip_weights import Pictures
from trainers.errors import UserError
from trainers.prompting.model import PromptedCLIP, encode_prompts
from trainers.prompting.templates import (
    IMAGENET_TEMPLATES,
    KGCOOP_TEMPLATES,
    SEP_TEMPLATES,
    TCP_TEMPLATES,
    TEMPLATES,
    template_for,
)


def test_one_template_is_zero_shot_clip(tiny_clip):
    model = tiny_clip()
    names = ["cat", "polar_bear"]
    features = model.encode_text(clip.tokenize(["a photo of a cat.", "a photo of a polar bear."]))
    features = features / features.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encode_prompts(model, ["a photo of a {}."], names), features)


def test_several_templates_are_averaged_as_unit_vectors(tiny_clip):
    model = tiny_clip()
    templates = ["a photo of a {}.", "art of the {}.", "a {}."]
    parts = torch.stack([encode_prompts(model, [t], ["cat", "dog"]) for t in templates])
    mean = parts.mean(dim=0)
    expected = mean / mean.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encode_prompts(model, templates, ["cat", "dog"]), expected)


def test_features_may_be_averaged_as_they_come(tiny_clip):
    model = tiny_clip()
    texts = [clip.tokenize([f"{kind} of a {name}." for name in ("cat", "dog")]) for kind in ("a photo", "art")]
    mean = sum(model.encode_text(tokens) for tokens in texts)
    expected = mean / mean.norm(dim=-1, keepdim=True)
    templates = ["a photo of a {}.", "art of a {}."]
    features = encode_prompts(model, templates, ["cat", "dog"], unit=False)
    torch.testing.assert_close(features, expected)
    assert not torch.allclose(features, encode_prompts(model, templates, ["cat", "dog"]), atol=1e-5)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ("INPUT.PIXEL_MEAN", [0.48145466, 0.4578275, 0.40821073]),
            "PIXEL_MEAN .0.5, 0.4, 0.3. and .*PIXEL_STD .0.2, ",
        ),
        (("INPUT.PIXEL_STD", [0.2, 0.3, 0.26]), "normalised otherwise"),
        (("INPUT.TRANSFORMS", ["random_flip"]), "have normalize in INPUT.TRANSFORMS"),
        (("INPUT.INTERPOLATION", "bicubic"), "resized otherwise: set INPUT.INTERPOLATION to bilinear"),
        (("INPUT.SIZE", (64, 64)), "INPUT.SIZE is 64 x 64.* takes 32 x 32 images"),
    ],
)
def test_pictures_as_the_backbone_had_them(make_cfg, family, options, sentence):
    clip_model = load_clip(family.name)
    PromptedCLIP(make_cfg("CoOp", *family.options), ["cat"], clip_model)
    with pytest.raises(UserError, match=sentence):
        PromptedCLIP(make_cfg("CoOp", *family.options, *options), ["cat"], clip_model)


def test_a_backbone_that_was_trained_on_pixels_as_they_are(make_cfg, tiny_clip):
    clip_model = tiny_clip()
    clip_model.pictures = Pictures(32, (0, 0, 0), (1, 1, 1))
    PromptedCLIP(make_cfg("CoOp", "INPUT.TRANSFORMS", ["random_flip"]), ["cat"], clip_model)
    with pytest.raises(UserError, match="normalised otherwise"):
        PromptedCLIP(make_cfg("CoOp"), ["cat"], clip_model)


def test_templates():
    assert len(IMAGENET_TEMPLATES) == len(set(IMAGENET_TEMPLATES)) == 80
    tables = (TEMPLATES, KGCOOP_TEMPLATES, TCP_TEMPLATES, SEP_TEMPLATES)
    assert all(table.keys() == TEMPLATES.keys() and len(table) == 15 for table in tables)
    for template in [*IMAGENET_TEMPLATES, *(t for table in tables for t in table.values())]:
        assert template.count("{}") == 1


def test_template_of_a_data_set(make_cfg):
    cfg = make_cfg("CoOp", "DATASET.NAME", "EuroSAT")
    assert template_for(cfg) == "a centered satellite photo of {}."
    cfg.DATASET.NAME = "SomebodysOwn"
    assert template_for(cfg) == "a photo of a {}."
    cfg.DATASET.TEMPLATE = "a scan of {}"
    assert template_for(cfg) == "a scan of {}"
