"""2SFS beyond the first step of the golden numbers: its stages, whose the classes are, and what is stored."""

import numpy as np
import pytest
import torch

from dassl.config import get_cfg_default
from harness.config import merge_file
from tests.conftest import REPOSITORY
from tests.golden.compare import assert_theirs, golden_images
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from tests.trainers.test_counted import TWO_STAGES
from tests.trainers.test_golden import Case
from trainers.errors import UserError
from trainers.run.optimiser import optimiser_of
from trainers.two_sfs import CustomCLIP, TwoSFS

NODE = "TRAINER.TWOSFS."
ADAMW = ("OPTIM.NAME", "adamw", "OPTIM.LR", 0.02, "OPTIM.WARMUP_EPOCH", 0)


@pytest.mark.long
def test_five_steps_of_each_stage_are_the_authors(golden_clip, tmp_path):
    """Losses and learning rates of all, what they change, and the logits of trained and of other classes."""
    case = Case("two_sfs", golden_clip, tmp_path)
    model, info, expected = case.model.train(), case.info, case.expected
    learner, classifier = model.prompt_learner, model.training_only["classifier"]
    images, label = golden_images(), torch.tensor(info["labels"])
    cfg = get_cfg_default()
    merge_file(cfg, str(REPOSITORY / "configs/trainers/TwoSFS/vit_b16.yaml"))
    trained = torch.nn.ModuleDict({"prompt_learner": learner, "training_only": model.training_only})
    cfg.OPTIM.MAX_EPOCH = 2
    optim, schedule = optimiser_of(trained, cfg.OPTIM, [0, 5, 10], [1])
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    losses, rates = [], []
    for step in range(10):
        if step == 5:
            changed = {name: p.detach() - before[name] for name, p in learner.named_parameters()}
            model.begin_second_stage(start=True)
            np.testing.assert_allclose(classifier.weight.detach(), expected["classifier_start"], atol=1e-5)
        loss = model(images, label)[1]["ce"]
        optim.zero_grad()
        loss.backward()
        if step == 5:
            np.testing.assert_allclose(classifier.weight.grad, expected["classifier_grad"], atol=1e-5)
        losses.append(loss.item())
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    np.testing.assert_allclose(losses, info["losses"], atol=1e-4)
    np.testing.assert_allclose(rates, info["learning_rates"], rtol=1e-6)
    for theirs, ours in case.names.items():
        assert_theirs(changed[ours], expected, "change", theirs)
        assert torch.equal(dict(learner.named_parameters())[ours] - before[ours], changed[ours])
    change = classifier.weight.detach().numpy() - expected["classifier_start"]
    theirs = expected["classifier_after_5"] - expected["classifier_start"]
    assert np.linalg.norm(change - theirs) < 1e-3 * np.linalg.norm(theirs)

    new = CustomCLIP(model_cfg(), info["new_classnames"], golden_clip).eval()
    new.prompt_learner.load_state_dict(learner.state_dict())
    new.load_training_only(model.training_only.state_dict(), info["classnames"], "x")
    with torch.no_grad():
        np.testing.assert_allclose(model.eval()(images), expected["logits_base6"], atol=1e-4)
        np.testing.assert_allclose(new(images), expected["logits_new6"], atol=1e-4)


def model_cfg():
    cfg = get_cfg_default()
    cfg.merge_from_list(["DATASET.NAME", "Caltech101", "INPUT.SIZE", (64, 64), NODE + "PREC", "fp32"])
    cfg.TRAINER.NAME = "TwoSFS"
    return cfg


def test_what_stage_1_trains(build):
    """In the tiny CLIP: two layers of text, three of images."""

    def names(*options):
        return {name.partition(".")[2] for name, _ in build("two_sfs", *options).prompt_learner.named_parameters()}

    norms = names()
    assert len(norms) == 20 and all(".ln_1." in name or ".ln_2." in name for name in norms)
    outer = {
        f"{name}.{leaf}" for name in ("ln_final", "visual.ln_pre", "visual.ln_post") for leaf in ("weight", "bias")
    }
    assert names(NODE + "NORMS", "all") == norms | outer
    biases = names(NODE + "PEFT", "bitfit")
    assert len(biases) == 5 * 5 + 3 and not any("in_proj" in name for name in biases)
    assert {name.split(".")[-1] for name in names(NODE + "PEFT", "lora")} == {"a", "b"}


@pytest.mark.parametrize(("n_classes", "shots"), [(10, 1), (47, 4), (397, 16), (1000, 16)])
def test_the_published_training_is_the_authors(n_classes, shots):
    """Steps of each stage, and a whole number of passes in all epochs but a stage's last."""
    cfg = get_cfg_default()
    merge_file(cfg, str(REPOSITORY / "configs/trainers/TwoSFS/vit_b16.yaml"))
    cfg.DATASET.NUM_SHOTS = shots
    trainer = TwoSFS.__new__(TwoSFS)
    trainer.cfg, trainer.dm = cfg, type("Manager", (), {"dataset": None})
    per_pass = -(-n_classes * shots // 32)
    ends = trainer.steps_done(per_pass)
    (last,) = trainer.stages
    assert ends[last] == 180 * shots and ends[-1] == 300 * shots and len(ends) == 11
    assert all(a < b for a, b in zip(ends, ends[1:]))
    assert all((end - start) % per_pass == 0 for start, end in zip(ends, ends[1:]) if end not in (ends[last], ends[-1]))


def test_too_many_epochs(make_trainer):
    with pytest.raises(UserError, match="7 steps, .* do not make 12 of the 20 epochs of OPTIM.MAX_EPOCH: lower it"):
        make_trainer("TwoSFS", NODE + "ITERATIONS", 2, "OPTIM.MAX_EPOCH", 20)


@pytest.fixture
def trained(make_trainer, tmp_path):
    """A training on three of the six classes of the tiny data set, and its trainer."""
    options = (*METHODS["two_sfs"].options, "DATASET.SUBSAMPLE_CLASSES", "base", *ADAMW, "TRAIN.CHECKPOINT_FREQ", 1)
    trainer = make_trainer("TwoSFS", *options, output=tmp_path / "run")
    trainer.train()
    return trainer


def test_whose_the_classes_are(trained, make_trainer, tmp_path):
    """Trained ones have their row, known by the name, wherever they stand; others their text."""
    w = trained.model.training_only["classifier"].weight.detach()
    rows = torch.nn.functional.normalize(w, dim=1)
    folder, options = str(tmp_path / "run"), METHODS["two_sfs"].options
    text, logits = {}, {}
    for half in ("new", "all"):
        test = make_trainer("TwoSFS", *options, *ADAMW, "DATASET.SUBSAMPLE_CLASSES", half)
        test.load_model(folder)
        with torch.no_grad():
            logits[half] = test.model.encode_text()
            text[half] = test.model.prompt_learner.encode_text(test.model.text_encoder)
    text = {half: torch.nn.functional.normalize(g, dim=1) for half, g in text.items()}
    torch.testing.assert_close(logits["new"], text["new"])
    torch.testing.assert_close(logits["all"], torch.cat([rows, text["all"][3:]]))
    assert (rows - text["all"][:3]).abs().max() > 1e-3
    first = make_trainer("TwoSFS", *options, *ADAMW, "DATASET.SUBSAMPLE_CLASSES", "base")
    first.load_model(folder)
    assert not first.model.reads_text and torch.equal(first.model.encode_text(), rows)
    first.load_model(folder, epoch=2)  # the end of stage 1
    assert first.model.reads_text
    with torch.no_grad():
        torch.testing.assert_close(first.model.encode_text(), text["all"][:3])


def test_names_that_are_there_twice(build):
    model = build("two_sfs", classnames=["missile", "cat", "missile", "polar_bear"])
    w = torch.arange(1.0, 4.0)[:, None].expand(3, 32)
    model.load_training_only({"classifier.weight": w}, ["missile", "polar bear", "missile"], "x")
    assert model.training_only["classifier"].weight[:, 0].tolist() == [1, 0, 3, 2] and model.reads_text


def test_the_second_stage_encodes_each_picture_once(make_trainer, monkeypatch):
    """Where a picture is the same in each epoch; and its features are those of the adapted encoder."""
    trainer = make_trainer(
        "TwoSFS", *TWO_STAGES, "INPUT.TRANSFORMS", ["normalize"], "STORE.MAX_GB", 0.0, "TEST.NO_TEST", True
    )
    encoder, passes = type(trainer.model.image_encoder), []
    plain = encoder.forward
    monkeypatch.setattr(
        encoder, "forward", lambda self, image, *a, **k: passes.append(len(image)) or plain(self, image, *a, **k)
    )
    before_epoch = trainer.before_epoch

    def second(passes=passes):
        before_epoch()
        if trainer.epoch == 2:
            passes.clear()

    monkeypatch.setattr(trainer, "before_epoch", second)
    trainer.train()
    assert sum(passes) == 36 and trainer.epoch_ends[-1] - trainer.epoch_ends[2] == 10
    model, view = trainer.model.eval(), trainer.views
    images = torch.stack([view.dataset[i]["img"] for i in range(3)])
    found = torch.nn.functional.normalize(view.features(torch.arange(3)), dim=1)
    with torch.no_grad():
        torch.testing.assert_close(found, model.encode_image(images), atol=1e-5, rtol=1e-5)


def test_one_epoch_is_stage_1(make_trainer, capsys):
    trainer = make_trainer("TwoSFS", NODE + "ITERATIONS", 2, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    assert "has no second stage" in capsys.readouterr().out
    assert trainer.epoch_ends == [0, 12] and trainer.n_params == 1280 and trainer.model.reads_text


def test_a_damaged_classifier(build):
    model, names = build("two_sfs"), CLASSNAMES[:3]
    w = torch.ones(3, 32)
    with pytest.raises(ValueError, match="classifier.weight"):
        model.load_training_only({"classifier.weight": w * float("nan")}, names, "x")
    with pytest.raises(ValueError, match="does not fit this model: weight is nothing there"):
        model.load_training_only({}, names, "x")
