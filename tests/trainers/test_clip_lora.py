"""CLIP-LoRA beyond the golden numbers: what is updated, for how long, and what cannot be built."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from harness.config import merge_file
from tests.conftest import REPOSITORY
from trainers.clip_lora import CLIPLoRA
from trainers.errors import UserError
from trainers.run.optimiser import optimiser_of
from trainers.run.steps import Steps

NODE = "TRAINER.CLIPLORA."


def test_it_starts_at_zero_shot_clip(build):
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = build("zsclip", "DATASET.TEMPLATE", "a photo of a {}.")(image)
        for model in (build("clip_lora"), build("clip_lora").eval()):
            torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)


def test_what_is_updated(build):
    learner = build("clip_lora").prompt_learner
    assert list(learner.text) == ["0", "1"] and list(learner.image) == ["0", "1", "2"]
    assert {tuple(layer) for layer in learner.text.values()} == {("q", "k", "v")}
    assert learner.text["0"]["q"].scale == pytest.approx(2**-0.5)
    learner = build("clip_lora", NODE + "LAYERS", [2, 1], NODE + "PARTS", ["o"], NODE + "RANK", 4).prompt_learner
    assert list(learner.text) == ["1"] and list(learner.image) == ["1", "2"]
    assert learner.image["2"]["o"].a.shape == (4, 64) and learner.image["2"]["o"].scale == 0.5


def test_every_template_is_plain(build):
    """As in the authors' code, whatever the data set; DATASET.TEMPLATE is still the user's."""
    words = {}
    for template in ("", "art of a {}"):
        options = ("DATASET.NAME", "EuroSAT", "DATASET.TEMPLATE", template)
        words[template] = build("clip_lora", *options).prompt_learner.sequences.tokenized_prompts
    plain = build("clip_lora", "DATASET.TEMPLATE", "a photo of a {}.").prompt_learner.sequences.tokenized_prompts
    assert torch.equal(words[""], plain) and not torch.equal(words["art of a {}"], plain)


def test_each_class_has_its_own_dropout_in_training_alone(build):
    """Tokens that all classes begin with are then one for each class, so that each gets a mask."""
    model = build("clip_lora")
    learner, tokens = model.prompt_learner, model.prompt_learner()
    everything = sum(n * length for n, length in zip(*tokens.groups))

    def tokens_in_layer_0():
        seen = []
        hook = learner.text["0"]["k"].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
        with torch.no_grad():
            model.encode_text()
        hook.remove()
        return sum(seen)

    assert tokens_in_layer_0() == everything > len(tokens.x)
    learner.eval()
    assert tokens_in_layer_0() == len(tokens.x)
    assert build("clip_lora", NODE + "DROPOUT", 0.0).prompt_learner.text.apart(0, tokens) is tokens


BY_STEP = ("OPTIM.LR_STEP", "iteration", "DATALOADER.TRAIN_X.DROP_LAST", False)


def test_steps_are_counted_by_shots(make_trainer):
    """Of 36 images of 6 classes: 6 shots, 4 full batches of 8 a pass, or 5 with the rest."""
    lengths = [7, 8, 7, 8]  # 5 * 6 steps in even parts; a pass may be cut off
    trainer = make_trainer("CLIPLoRA", NODE + "ITERATIONS", 5, "OPTIM.MAX_EPOCH", 4)
    assert [len(batches_of(trainer, epoch)) for epoch in range(4)] == lengths
    lengths = [5, 10, 5, 10]  # 6 passes, the last of which would be complete
    trainer = make_trainer("CLIPLoRA", NODE + "ITERATIONS", 5, "OPTIM.MAX_EPOCH", 4, *BY_STEP)
    assert [len(batches_of(trainer, epoch)) for epoch in range(4)] == lengths
    trainer = make_trainer("CLIPLoRA", NODE + "ITERATIONS", 2, "OPTIM.MAX_EPOCH", 2, *BY_STEP)
    assert [len(batches_of(trainer, epoch)) for epoch in range(2)] == [5, 7]  # 12: two passes and what is left
    with pytest.raises(
        UserError, match="6 steps, 2 passes over the images, do not make OPTIM.MAX_EPOCH 7 .* 6 or less"
    ):
        make_trainer("CLIPLoRA", NODE + "ITERATIONS", 1, "OPTIM.MAX_EPOCH", 7)
    with pytest.raises(UserError, match="do not make OPTIM.MAX_EPOCH 3 epochs: set it to 2 or less"):
        make_trainer("CLIPLoRA", NODE + "ITERATIONS", 1, "OPTIM.MAX_EPOCH", 3, *BY_STEP)


def batches_of(trainer, epoch):
    trainer.epoch = epoch
    trainer.before_epoch()
    batches = list(trainer.train_loader_x)
    assert len(batches) == len(trainer.train_loader_x)
    return batches


@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_the_published_training_is_the_authors(shots):
    """500 steps for each shot, pass after pass with the last batch, and the rate of each step."""
    cfg = get_cfg_default()
    merge_file(cfg, str(REPOSITORY / "configs/trainers/CLIPLoRA/vit_b16.yaml"))
    cfg.DATASET.NUM_SHOTS = shots
    assert cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 32 and not cfg.DATALOADER.TRAIN_X.DROP_LAST
    total = 500 * shots
    ends, *_ = [ends_of_published_epochs(cfg, n_classes, total) for n_classes in (10, 47, 100, 102, 397, 1000)]
    optimiser, schedule = optimiser_of(nn.ModuleDict({"x": nn.Linear(1, 1)}), cfg.OPTIM, ends)  # reads the last alone
    rates = []
    for _ in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    expected = [1e-6 + (2e-4 - 1e-6) * (1 + math.cos(math.pi * t / total)) / 2 for t in range(total)]
    assert rates == pytest.approx(expected, rel=1e-6) and optimiser.param_groups[0]["lr"] == pytest.approx(1e-6)


def ends_of_published_epochs(cfg, n_classes, total):
    """When they end, their batches being those of the authors' loop."""
    shots, theirs = cfg.DATASET.NUM_SHOTS, []
    while len(theirs) < total:
        for images in batch_sizes(n_classes * shots, 32):
            theirs.append(images)
            if len(theirs) == total:
                break
    loader = batch_sizes(n_classes * shots, 32)
    trainer = CLIPLoRA.__new__(CLIPLoRA)
    trainer.cfg, trainer.dm = cfg, SimpleNamespace(dataset=None)
    ends = trainer.steps_done(len(loader))
    steps, ours = Steps(loader, ends), []
    for steps.epoch in range(cfg.OPTIM.MAX_EPOCH):
        assert len(steps) > 0
        ours += steps
    assert ours == theirs and len(ours) == ends[-1] == total
    return ends


def batch_sizes(n, size):
    return [min(size, n - start) for start in range(0, n, size)]
