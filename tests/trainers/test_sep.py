"""SEP beyond the golden numbers: what is chosen, which layers, and what the two variants mix."""

import pytest
import torch
from torch.utils.data import default_collate

from dassl.data import DatasetWrapper
from dassl.data.transforms import build_transform
from tests.tiny import CLASSNAMES, as_tokens
from trainers.errors import UserError
from trainers.prompting.model import normalise
from trainers.sep import ImageEnhancer, TextEnhancer, TokenFusion


def test_representative_tokens_are_those_of_largest_power_in_order():
    enhancer = ImageEnhancer([1], 64, 2, across_batch=False)
    tokens = torch.ones(2, 4, 64) * torch.tensor([[1.0, -4.0, 2.0, 3.0], [5.0, 1.0, 2.0, 0.0]]).unsqueeze(-1)
    assert enhancer.choose(tokens).tolist() == [[1, 3], [0, 2]]
    enhancer.across_batch = True  # mean power over the batch: 13, 8.5, 4, 4.5
    assert enhancer.choose(tokens).tolist() == [[0, 1], [0, 1]]


def test_prompts_are_replaced_and_the_rest_is_untouched():
    torch.manual_seed(0)
    x = torch.randn(3, 12, 64)
    x[:, :5] = x[0, :5]
    tokens = as_tokens(x, 5)
    text, image = TextEnhancer([2], 64, 4, False), ImageEnhancer([2], 64, 4, False)
    assert text(1, tokens) is tokens and torch.equal(image(0, x), x)
    y = text(2, tokens).read(0, 12)
    assert torch.equal(y[:, :1], x[:, :1]) and torch.equal(y[:, 5:], x[:, 5:])
    torch.testing.assert_close(y[:, 1:5], text["2"](x[:, 5:9], x[:, 1:5]))
    y = image(2, x)
    assert torch.equal(y[:, :8], x[:, :8]) and not torch.allclose(y[:, 8:], x[:, 8:])


def test_fusion_written_out():
    """The module's equation with the attention in matrices (one head)."""
    torch.manual_seed(0)
    fusion = TokenFusion(64).eval()
    with torch.no_grad():
        fusion.scale_1.fill_(0.6)
        fusion.scale_2.fill_(0.3)
        fusion.attn.in_proj_bias.normal_()
    r, p = torch.randn(2, 5, 64), torch.randn(2, 5, 64)
    q, k, v = (
        x @ w.t() + b
        for x, w, b in zip(
            (fusion.ln_1(p), fusion.ln_1(r), fusion.ln_1(r)),
            fusion.attn.in_proj_weight.chunk(3),
            fusion.attn.in_proj_bias.chunk(3),
        )
    )
    attended = (q @ k.transpose(1, 2) / 8).softmax(dim=-1) @ v
    h = 0.6 * r + 0.4 * fusion.attn.out_proj(attended)
    z = fusion.ln_2(h) @ fusion.mlp_in.weight.t()
    expected = 0.3 * h + 0.7 * (z / (1 + torch.exp(-1.702 * z))) @ fusion.mlp_out.weight.t()
    torch.testing.assert_close(fusion(r, p), expected)


def test_as_many_visual_tokens_as_an_image_can_renew(build):
    build("sep", "TRAINER.SEP.N_CTX_V", 17)


def test_textual_tokens_renewed_from_as_many(build):
    """1 + 2 n_ctx positions of 77 are read."""
    picture = torch.zeros(1, 3, 32, 32)
    assert torch.isfinite(build("sep", "TRAINER.SEP.N_CTX", 38)(picture)).all()
    for start in (("TRAINER.SEP.N_CTX", 39), ("TRAINER.SEP.CTX_INIT", "word " * 39)):
        with pytest.raises(UserError, match="39, but at most 38 of CLIP's 77 tokens can be context"):
            build("sep", *start)


def test_default_layers_follow_the_backbone(build):
    learner = build("sep").prompt_learner
    assert list(learner.text_enhancer) == ["1"] and list(learner.image_enhancer) == ["1", "2"]
    learner = build("sep", "TRAINER.SEP.LAYERS", [2]).prompt_learner
    assert list(learner.text_enhancer) == [] and list(learner.image_enhancer) == ["2"]


@pytest.mark.parametrize(
    "encoder, text, image", [("both", ["1"], ["1", "2"]), ("text", ["1"], []), ("image", [], ["1", "2"])]
)
def test_one_encoder_may_be_left_as_it_is(build, encoder, text, image):
    model = build("sep", "TRAINER.SEP.ENHANCE", encoder)
    learner = model.prompt_learner
    assert list(learner.text_enhancer) == text and list(learner.image_enhancer) == image
    _, losses = model(torch.randn(3, 3, 32, 32), torch.arange(3))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in learner.parameters())  # prompts are learned in both all the same


def test_each_loss_has_its_weight(build):
    batch = torch.randn(3, 3, 32, 32), torch.arange(3)
    found = []
    for factor in (1, 3):
        keys = ("W", 2.0 * factor, "W_V", 5.0 * factor, "W_PROTO", 0.25 * factor)
        torch.manual_seed(0)
        model = build("sep", *(f"TRAINER.SEP.{key}" if isinstance(key, str) else key for key in keys))
        found.append(model(*batch)[1])
    for name in ("text", "visual", "proto"):
        torch.testing.assert_close(3 * found[0][name], found[1][name])
    assert torch.equal(found[0]["ce"], found[1]["ce"])


def test_text_features_of_a_class_do_not_depend_on_the_others(build):
    with torch.no_grad():
        together, alone = build("sep").encode_text()[:2], build("sep", classnames=CLASSNAMES[:2]).encode_text()
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        released = ("TRAINER.SEP.VARIANT", "released")
        together = build("sep", *released).encode_text()[:2]
        alone = build("sep", *released, classnames=CLASSNAMES[:2]).encode_text()
        assert (together - alone).abs().max() > 1e-4


def test_context_is_long_enough_for_the_fusion(build):
    """With short class names the tokens that the fusion reads lie behind the last EOS."""
    model = build("sep", "TRAINER.SEP.N_CTX", 16, classnames=["a", "b"])
    assert list(model.prompt_learner.sequences.groups.lengths) == [33]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 2)


def test_context_from_words(build):
    assert build("sep", "TRAINER.SEP.CTX_INIT", "a photo of a").prompt_learner.ctx.shape == (4, 64)


def test_prototypes_start_as_class_means(make_trainer):
    trainer = make_trainer("SEP")
    trainer.before_train()
    v = trainer.model.training_only["prototypes"].weight
    items, tfm = trainer.dm.dataset.train_x, build_transform(trainer.cfg, is_train=False)
    batch = default_collate([*DatasetWrapper(trainer.cfg, items, transform=tfm)])
    features, labels = normalise(trainer.model.image_encoder(batch["img"])), batch["label"]
    for c in range(6):
        torch.testing.assert_close(v[c], normalise(features[labels == c].mean(dim=0)), atol=1e-5, rtol=1e-5)
