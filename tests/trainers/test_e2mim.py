"""E2MIM: its limits are CoOp and zero-shot CLIP, gradients go where they belong, terms are left out aloud."""

import pytest
import torch

import trainers.coop
import trainers.e2mim
import trainers.zsclip
from tests.tiny import CLASSNAMES
from trainers.e2mim import hand_templates
from trainers.prompting.mixup import soft_cross_entropy
from trainers.prompting.model import normalise
from trainers.prompting.templates import IMAGENET_TEMPLATES

PLAIN = ("TRAINER.E2MIM.MI_WEIGHT", 0.0, "TRAINER.E2MIM.MIXUP_IN", "none", "TRAINER.E2MIM.ENSEMBLE_WEIGHT")
READINGS = [(name, "probability") for name in ("jsd", "dv", "infonce", "class", "cluster")]
READINGS += [("jsd", "feature"), ("cluster", "feature")]


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(6, 3, 32, 32), torch.arange(6)


def test_without_its_terms_it_is_coop(build, batch, tiny_clip, make_cfg):
    cfg = make_cfg("CoOp", "TRAINER.COOP.CTX_INIT", "a photo of a")
    coop = trainers.coop.CustomCLIP(cfg, CLASSNAMES, tiny_clip())
    model = build("e2mim", *PLAIN, 1.0, "TRAINER.E2MIM.CTX_INIT", "a photo of a")
    gradients = []
    for m in (coop, model):
        logits, losses = m(*batch)
        assert list(losses) == ["ce"]
        losses["ce"].backward()
        gradients.append((logits.detach(), m.prompt_learner.ctx.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=1e-7, rtol=1e-5)


def test_without_the_learned_view_it_is_zero_shot_clip(build, batch, tiny_clip, make_cfg):
    zero_shot = trainers.zsclip.CustomCLIP(make_cfg("ZeroshotCLIP"), CLASSNAMES, tiny_clip())
    with torch.no_grad():
        torch.testing.assert_close(build("e2mim", *PLAIN, 0.0)(batch[0]), zero_shot(batch[0]), atol=1e-6, rtol=1e-6)


def test_ensemble_averages_the_logits_of_the_views(build, batch):
    model = build("e2mim", "TRAINER.E2MIM.ENSEMBLE_WEIGHT", 0.3)
    with torch.no_grad():
        f = model.encode_image(batch[0])
        expected = 0.7 * model.logits(f, model.hand_features) + 0.3 * model.logits(f, model.learned_features())
        torch.testing.assert_close(model(batch[0]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss_view", ["learned", "ensemble", "both"])
@pytest.mark.parametrize("eval_view", ["learned", "ensemble"])
def test_views_of_the_loss_and_of_evaluation_are_chosen_apart(build, batch, loss_view, eval_view):
    model = build("e2mim", *PLAIN, 0.3, "TRAINER.E2MIM.LOSS_VIEW", loss_view, "TRAINER.E2MIM.EVAL_VIEW", eval_view)
    image, label = batch
    with torch.no_grad():
        model.prompt_learner.ctx += torch.randn_like(model.prompt_learner.ctx)  # it starts as the other view
        logits, losses = model(image, label)
        f, learned = model.encode_image(image), model.learned_features()
        texts = {"learned": learned, "ensemble": 0.7 * model.hand_features + 0.3 * learned}
        of = {view: model.logits(f, text) for view, text in texts.items()}
        torch.testing.assert_close(model(image), of[eval_view])
        torch.testing.assert_close(logits, of[eval_view])
        torch.testing.assert_close(model.logits(f, model.encode_text()), of[eval_view])
        terms = [torch.nn.functional.cross_entropy(of[v], label) for v in of if loss_view in (v, "both")]
        torch.testing.assert_close(losses["ce"], sum(terms) / len(terms))
    assert not torch.allclose(of["learned"], of["ensemble"])


@pytest.mark.parametrize(
    "mixup_in, terms, n", [("ce", {"ce", "mix", "mi"}, 6), ("mi", {"ce", "mi"}, 12), ("both", {"ce", "mix", "mi"}, 12)]
)
def test_terms_that_see_mixed_images(build, batch, mixup_in, terms, n):
    model = build("e2mim", "TRAINER.E2MIM.MIXUP_IN", mixup_in)
    views = []
    model.training_only["estimator"].register_forward_hook(lambda module, inputs, output: views.extend(inputs))
    _, losses = model(*batch)
    assert set(losses) == terms and [len(v) for v in views] == [n, n]


@pytest.mark.parametrize(
    "options",
    [{"MIXUP_IN": "none"}, {"MIXUP_IN": "ce", "MIXUP_WEIGHT": 0.0}, {"MIXUP_IN": "mi", "MI_WEIGHT": 0.0}],
    ids=["none", "ce", "mi"],
)
def test_without_a_term_that_sees_mixed_images_none_is_made(build, batch, options, monkeypatch):
    model = build("e2mim", *(x for key, value in options.items() for x in (f"TRAINER.E2MIM.{key}", value)))
    monkeypatch.setattr(trainers.e2mim, "draw_partners", None)
    assert "mix" not in model(*batch)[1]


@pytest.mark.parametrize("estimator, mi_input", READINGS)
def test_every_estimator_reaches_ctx_and_itself(build, batch, estimator, mi_input):
    model = build("e2mim", "TRAINER.E2MIM.MI_ESTIMATOR", estimator, "TRAINER.E2MIM.MI_INPUT", mi_input)
    _, losses = model(*batch)
    learned = [model.prompt_learner.ctx, *model.training_only.parameters()]
    assert (len(learned) == 1) == (estimator == "class")
    for gradient in torch.autograd.grad(losses["mi"], learned, allow_unused=True):
        assert gradient is not None and torch.isfinite(gradient).all()
    assert torch.autograd.grad(model(*batch)[1]["mi"], model.prompt_learner.ctx)[0].abs().sum() > 0


def test_an_estimator_of_features_does_not_depend_on_the_number_of_classes(build):
    options = ("TRAINER.E2MIM.MI_ESTIMATOR", "cluster", "TRAINER.E2MIM.MI_INPUT", "feature")
    shapes = []
    for n_cls in (6, 9):
        model = build("e2mim", *options, classnames=[f"class {i}" for i in range(n_cls)])
        shapes.append([p.shape for p in model.training_only.parameters()])
    assert shapes[0] == shapes[1]


def test_the_classes_information_is_of_their_probabilities(build):
    with pytest.raises(ValueError, match="MI_ESTIMATOR class is of the classes' probabilities: set MI_INPUT"):
        build("e2mim", "TRAINER.E2MIM.MI_ESTIMATOR", "class", "TRAINER.E2MIM.MI_INPUT", "feature")


def test_mutual_information_reaches_ctx_through_the_learned_view_only(build, batch):
    model = build("e2mim")
    views = []
    model.training_only["estimator"].register_forward_hook(lambda module, inputs, output: views.extend(inputs))
    _, losses = model(*batch)
    log_p_h, log_p_s = views
    assert not log_p_h.requires_grad and log_p_s.requires_grad
    (gradient,) = torch.autograd.grad(losses["mi"], model.prompt_learner.ctx)
    assert gradient.abs().sum() > 0
    assert not model.hand_features.requires_grad
    torch.testing.assert_close(log_p_h.exp().sum(dim=-1), torch.ones(12))  # 6 images and 6 mixed ones


def test_mixed_part(build, batch):
    model = build("e2mim", "TRAINER.E2MIM.MIXUP_WEIGHT", 2.0, "TRAINER.E2MIM.MIXUP_IN", "ce")
    torch.manual_seed(3)
    _, losses = model(*batch)
    torch.manual_seed(3)
    f = model.encode_image(batch[0])
    f_mix, target = model.mix(batch[0], f, batch[1], 6)
    torch.testing.assert_close(f_mix.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(target.sum(dim=-1), torch.ones(6))
    expected = 2 * soft_cross_entropy(model.logits(f_mix, model.learned_features()), target)
    torch.testing.assert_close(losses["mix"], expected)


def test_mixing_images_is_mixing_pixels(build, batch):
    model = build("e2mim", "TRAINER.E2MIM.MIXUP_SPACE", "image")
    calls = []
    encode = model.encode_image
    model.encode_image = lambda x: calls.append(x) or encode(x)
    model(*batch)
    assert len(calls) == 2 and not torch.equal(calls[0], calls[1])


@pytest.mark.parametrize(
    "n, labels, terms", [(1, [2], {"ce"}), (3, [1, 1, 1], {"ce", "mi"}), (2, [0, 1], {"ce", "mix", "mi"})]
)
def test_terms_that_need_pairs_are_left_out_once_aloud(build, capsys, n, labels, terms):
    model = build("e2mim", "TRAINER.E2MIM.MIXUP_IN", "both")
    capsys.readouterr()
    for _ in range(2):
        _, losses = model(torch.randn(n, 3, 32, 32), torch.tensor(labels))
        assert set(losses) == terms
        assert all(torch.isfinite(v) for v in losses.values())
    assert capsys.readouterr().out.count("Note:") == {1: 2, 3: 1, 2: 0}[n]


@pytest.mark.parametrize("estimator, name", [(n, "mi_jsd" if n == "jsd" else "mi_nats") for n, _ in READINGS[:5]])
def test_estimate_is_monitored_with_its_unit(build, batch, estimator, name):
    model = build("e2mim", "TRAINER.E2MIM.MI_ESTIMATOR", estimator, "TRAINER.E2MIM.MI_WEIGHT", 0.5)
    _, losses = model(*batch)
    assert losses["mi"].item() == pytest.approx(-0.5 * model.monitors[name].item())


def test_templates_of_the_hand_crafted_view(make_cfg):
    cfg = make_cfg("E2MIM")
    assert hand_templates(cfg) == ["a photo of a {}."]
    cfg.TRAINER.E2MIM.TEMPLATES = "imagenet"
    assert hand_templates(cfg) == IMAGENET_TEMPLATES
    cfg.TRAINER.E2MIM.TEMPLATES = ["art of {}", "a {}"]
    assert hand_templates(cfg) == ["art of {}", "a {}"]
    for wrong in ("imagenets", ["a photo"], 5, [1, 2]):
        cfg.TRAINER.E2MIM.TEMPLATES = wrong
        with pytest.raises(ValueError, match="TEMPLATES.*neither a list"):
            hand_templates(cfg)


def test_evaluation_ignores_the_critic(build, batch):
    model = build("e2mim").eval()
    with torch.no_grad():
        before = model(batch[0])
        for parameter in model.training_only.parameters():
            parameter.fill_(float("nan"))
        assert torch.equal(model(batch[0]), before)
    assert normalise(model.hand_features).shape == (6, 32)
