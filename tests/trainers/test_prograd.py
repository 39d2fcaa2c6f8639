"""ProGrad beyond the golden numbers: the general direction, the start of the context, and what a step does."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from tests.tiny import CLASSNAMES
from trainers.prompting.prompt_text import embed, tokenize


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 5])


def gradients(model, batch):
    """Of ce and of kl, and the direction that is trained."""
    _, losses = model(*batch)
    ctx = model.prompt_learner.ctx
    ce, kl = (torch.autograd.grad(losses[name], ctx, retain_graph=True)[0] for name in ("ce", "kl"))
    ctx.grad = None
    model.backward(losses)
    return ce, kl, ctx.grad


def labels_of(model, images, conflict):
    """For each image the class whose probability kl would lower most, so that ce with it conflicts; or raise most."""
    with torch.no_grad():
        features = model.encode_image(images)
        p0, p = (model.logits(features, g).softmax(dim=-1) for g in (model.hand_features, model.encode_text()))
    return (p0 - p).argmin(dim=-1) if conflict else (p0 - p).argmax(dim=-1)


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_kl_is_the_divergence_from_zero_shot_clip_up_to_its_entropy(build, batch, t):
    model = build("prograd", "TRAINER.PROGRAD.T", t)
    logits, losses = model(*batch)
    with torch.no_grad():
        zero_shot = model.logits(model.encode_image(batch[0]), model.hand_features) / t
        p0 = zero_shot.softmax(dim=-1)
        entropy = -(p0 * p0.log()).sum(dim=-1).mean()
    divergence = F.kl_div((logits / t).log_softmax(dim=-1), p0, reduction="batchmean")
    assert losses["kl"].item() == pytest.approx(t**2 * (divergence + entropy).item(), abs=1e-5)
    ctx = model.prompt_learner.ctx
    expected = torch.autograd.grad(t**2 * divergence, ctx, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(losses["kl"], ctx)[0], expected)


def test_lambda(build, batch):
    part = build("prograd", "TRAINER.PROGRAD.LAMBDA", 0.25)
    images, labels = batch[0], labels_of(part, batch[0], conflict=True)
    ce, kl, trained = gradients(part, (images, labels))
    torch.testing.assert_close(trained, ce - 0.25 * (ce * kl).sum() / (kl * kl).sum() * kl)
    ce, _, trained = gradients(build("prograd", "TRAINER.PROGRAD.LAMBDA", 0.0), (images, labels))
    assert torch.equal(trained, ce), "CoOp"


@pytest.mark.parametrize("scale", [None, 1024.0, 1e38], ids=["unscaled", "scaled", "overflow"])
def test_trainers_step_follows_the_direction(make_trainer, scale):
    """One step of plain SGD, as forward_backward takes it; also under a loss scaler, as fp16 and amp have on a GPU."""
    plain = ("OPTIM.NAME", "sgd", "OPTIM.MOMENTUM", 0.0, "OPTIM.WEIGHT_DECAY", 0.0, "OPTIM.WARMUP_EPOCH", -1)
    trainer = make_trainer("ProGrad", *plain, "OPTIM.LR", 1.0)
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in (0, 7, 14, 21)])
    trainer.set_model_mode("train")
    batch["label"] = labels_of(trainer.model, batch["img"], conflict=True)
    ce, kl, trained = gradients(trainer.model, (batch["img"], batch["label"]))
    assert (ce * kl).sum() < 0
    ctx = trainer.model.prompt_learner.ctx
    before = ctx.detach().clone()
    trainer.epoch = trainer.batch_idx = 0
    trainer.num_batches = 2
    if scale is not None:
        trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainer.forward_backward(batch)
    if scale == 1e38:
        assert torch.equal(ctx, before) and trainer.precision.scaler.get_scale() == pytest.approx(scale / 2)
        return
    torch.testing.assert_close(ctx.detach(), before - trained)
    assert (ctx.detach() - (before - ce)).norm() > 0.1 * ce.norm()


def test_start_is_the_template_behind_zeros(build, tiny_clip):
    model = build("prograd", "TRAINER.PROGRAD.N_CTX", 6)
    ctx = model.prompt_learner.ctx.detach()
    words = embed(tiny_clip(), tokenize(["a photo of a"]))[0, 1:5]
    assert torch.equal(ctx, torch.cat([torch.zeros(2, ctx.shape[1]), words]))
    tokens = tokenize([f"X X a photo of a {name.replace('_', ' ')}." for name in CLASSNAMES])
    assert torch.equal(model.prompt_learner.sequences.tokenized_prompts, tokens)


def test_starting_from_the_template_alone_is_zero_shot_clip(build, batch):
    model = build("prograd", "TRAINER.PROGRAD.N_CTX", 4)
    torch.testing.assert_close(model.encode_text(), model.hand_features, atol=1e-5, rtol=0)


def test_last_tokens_of_a_template_with_a_comma_stay(build, tiny_clip, batch):
    """Authors' code: a vector for each word, and "pet," is one. The last "a" is left as it is."""
    model = build("prograd", "DATASET.NAME", "OxfordPets", "TRAINER.PROGRAD.N_CTX", 8)
    ctx = model.prompt_learner.ctx.detach()
    assert torch.equal(ctx, embed(tiny_clip(), tokenize(["a type of pet, a photo of a"]))[0, 1:9])
    torch.testing.assert_close(model.encode_text(), model.hand_features, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options", [("TRAINER.PROGRAD.CTX_INIT", False), ("DATASET.TEMPLATE", "{} texture.")], ids=["asked", "no words"]
)
def test_random_start(build, options):
    ctx = build("prograd", *options).prompt_learner.ctx.detach()
    assert ctx.shape[0] == 16 and 0.01 < ctx.std().item() < 0.03


def test_context_shorter_than_the_template(build):
    with pytest.raises(ValueError, match='N_CTX is 4, but the template starts with the 6 words "a photo of a person'):
        build("prograd", "DATASET.NAME", "UCF101", "TRAINER.PROGRAD.N_CTX", 4)
