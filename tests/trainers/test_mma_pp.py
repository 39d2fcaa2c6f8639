"""MMA++ beyond the first step of the golden numbers: its scales and its texts."""

import json

import numpy as np
import pytest
import torch

from tests.golden.compare import assert_theirs, golden_images
from tests.tiny import CLASSNAMES
from tests.trainers.test_golden import Case

NODE = "TRAINER.MMAPP."
FILE = NODE + "SENTENCES"


@pytest.mark.long
def test_five_steps_are_the_authors(golden_clip, tmp_path):
    """Loss terms, what they change, and the logits afterwards; each step draws other texts and another scale."""
    case = Case("mma_pp", golden_clip, tmp_path)
    images = golden_images()
    parameters = dict(case.model.train().prompt_learner.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optim = torch.optim.SGD(parameters.values(), lr=case.info["lr"], momentum=0.9, weight_decay=5e-4)
    for number, expected in enumerate(case.info["losses"]):
        losses = case.step(images, number)
        assert [losses[name].item() for name in ("ce", "reg_text", "reg_image")] == pytest.approx(expected, abs=1e-4)
        optim.zero_grad()
        sum(losses.values()).backward()
        optim.step()
    for theirs, ours in case.names.items():
        assert_theirs(parameters[ours].detach() - before[ours], case.expected, "change", theirs)
    with torch.no_grad():
        np.testing.assert_allclose(case.model.eval()(images), case.expected["logits_after_5_6"], atol=1e-4)


def test_a_test_has_a_scale_of_its_own(build):
    """After training, too, and one of zero share is CLIP with its ensemble of templates."""
    image = torch.randn(2, 3, 32, 32)
    same = [build("mma_pp", NODE + "SCALE", scale).eval()(image) for scale in (0.1, 10.0)]
    other = build("mma_pp", NODE + "TEST_SCALE", 0.5).eval()(image)
    assert torch.equal(*same) and (same[0] - other).abs().max() > 1e-3
    model = build("mma_pp", NODE + "DROPOUT", 0.0)
    before = model(image)
    model(image, torch.tensor([0, 1]))
    assert torch.equal(model(image), before)


def test_the_two_scales_of_a_step(build, monkeypatch):
    """At u = 1 both passes are one, without dropout; gradients come from the first alone."""
    model, image, label = build("mma_pp", NODE + "DROPOUT", 0.0), torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    rand = torch.rand
    for u, agrees in ((1.0, True), (0.0, False)):
        monkeypatch.setattr(torch, "rand", lambda *shape, u=u: torch.tensor(u) if shape == ((),) else rand(*shape))
        losses = model(image, label)[1]
        for name in ("reg_text", "reg_image"):
            assert losses[name].item() >= -2.5 - 1e-5
            assert (abs(losses[name].item() + 2.5) < 1e-5) == agrees
    (losses["reg_image"] + losses["reg_text"]).backward()
    assert model.prompt_learner.up["image"][1].weight.grad.abs().max() > 0


def test_dropout_differs_between_classes(build, tmp_path):
    """Of one text for all."""
    path = tmp_path / "same.json"
    path.write_text(json.dumps({name: ["Something."] for name in CLASSNAMES}))
    model = build("mma_pp", FILE, str(path), NODE + "DROPOUT", 0.5)
    learner, encoder = model.prompt_learner, model.text_encoder
    with torch.no_grad():
        g = learner.encode_text(encoder, model.texts.draw(), 1.0)
        assert (g[0] - g[1]).abs().max() > 1e-4
        g = learner.eval().encode_text(encoder, model.texts.draw(), 1.0)
        assert (g[0] - g[1]).abs().max() < 1e-6


def test_without_sentences_there_are_80_templates(build):
    model = build("mma_pp")
    assert model.texts.counts == [80] * 6
    other = build("mma_pp", "DATASET.TEMPLATE", "a drawing of a {}, in ink.")
    assert (model.texts.ids != other.texts.ids).any(dim=1).sum() == 6
