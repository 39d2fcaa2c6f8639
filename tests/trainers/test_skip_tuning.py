"""Skip Tuning beyond the golden numbers: which classes a step keeps, its batches, and what is stored."""

import os
import random

import pytest
import torch
from scipy.stats import expon

from trainers.features import frozen_features
from trainers.run.steps import OfOneClass
from trainers.skip_tuning import KeptRanks, chances

NAMES = [f"thing {i}" for i in range(11)]
OPTIONS = ("TRAINER.SKIPTUNING.START_LAYER", 1, "TEST.NO_TEST", True)
VIEWS = ("DATALOADER.STORED_VIEWS", 3)  # as many as epochs


@pytest.mark.parametrize("n, scale", [(2, 0.3), (7, 0.3), (100, 1.0)])
def test_chances_are_the_authors(n, scale):
    pdf = expon.pdf(torch.linspace(0, 5, n).numpy(), scale=scale)
    expected = torch.from_numpy((pdf - pdf.min()) / (pdf.max() - pdf.min())).float()
    torch.testing.assert_close(chances(n, scale), expected)


def test_which_classes_are_kept(build):
    """Those whose rank was drawn, by the best cosine of the batch; its own first, and always."""
    model = build("skip_tuning", classnames=NAMES)
    kept = model.training_only["kept"]
    assert kept.n_top == 6 and kept.ranks[:7] == list(range(7))  # half of the classes, and p = 1
    kept.load_state_dict({"mask": torch.tensor([True] * 6 + [False, True, False, False, True])})
    assert kept.ranks == [0, 1, 2, 3, 4, 5, 7, 10]
    image = torch.randn(9, 3, 32, 32)
    for label in (torch.full((9,), 3), torch.arange(9) % 2, torch.arange(9)):
        f = model.encode_image(image).detach()
        scores = (f @ model.hand_features.t()).max(dim=0).values
        own = label.unique()
        scores[own] = 2 - 0.1 * own
        order = scores.argsort(descending=True)
        expected = {int(order[rank]) for rank in kept.ranks} | set(own.tolist())
        logits, losses = model(image, label)
        finite = torch.isfinite(logits)
        assert set(finite[0].nonzero().flatten().tolist()) == expected and (finite == finite[0]).all()
        few = logits[:, finite[0]]
        places = torch.tensor([sorted(expected).index(one) for one in label.tolist()])
        torch.testing.assert_close(losses["ce"], torch.nn.functional.cross_entropy(few, places))
        plain = model.logits(f, model.encode_text())
        torch.testing.assert_close(few, plain[:, finite[0]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n_cls, kept", [(1, [0]), (2, [0]), (3, [0, 1])])
def test_few_classes(n_cls, kept):
    """Behind K, a single rank is never kept."""
    assert KeptRanks(n_cls, (n_cls + 1) // 2, 0.3).ranks == kept


@pytest.mark.parametrize("first", [0, 1])
def test_what_learns(build, first):
    """Of the tiny CLIP's two and three layers, and what is behind them."""
    learner = build("skip_tuning", "TRAINER.SKIPTUNING.START_LAYER", first).prompt_learner
    for part, n_layers in ((learner.text, 2), (learner.image, 3)):
        names = [name for name, _ in part.named_parameters()]
        layers = {name.partition("resblocks.")[2].partition(".")[0] for name in names} - {""}
        assert layers == {str(i) for i in range(first, n_layers)} and len(names) == 12 * len(layers) + 3


def test_training_starts_from_clip(build):
    model, image = build("skip_tuning"), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.encode_text(), model.hand_features)
    torch.testing.assert_close(model.encode_image(image), torch.nn.functional.normalize(model.image_encoder(image)))


@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_of_one_class_if_there_are_enough_shots(make_trainer, drop_last):
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", 4, "DATALOADER.TRAIN_X.DROP_LAST", drop_last)
    trainer = make_trainer("SkipTuning", *OPTIONS, *options, "DATASET.NUM_SHOTS", 6)
    batches = [batch["label"].tolist() for batch in trainer.train_loader_x]
    assert sorted(batches) == [[label] * 4 for label in range(6)]
    trainer = make_trainer("SkipTuning", *OPTIONS, *options, "DATASET.NUM_SHOTS", 3)
    assert not isinstance(trainer.train_loader_x.batch_sampler, OfOneClass) and len(trainer.train_loader_x) == 9


def test_rounded_weights_stay_halves(make_trainer):
    trainer = make_trainer("SkipTuning", *OPTIONS, "TRAINER.SKIPTUNING.HALF_WEIGHTS", True, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    for name, parameter in trainer.model.prompt_learner.named_parameters():
        assert torch.equal(parameter, parameter.half().float()) == (".ln_" not in name), name


def test_outputs_of_views_are_stored_and_found(make_trainer, tmp_path, monkeypatch):
    """Of training pictures alone; a second run decodes and encodes none of them."""
    runs, encoded = [], []
    plain = frozen_features.FrozenFeatures.encode
    monkeypatch.setattr(
        frozen_features.FrozenFeatures, "encode", lambda self, image: encoded.append(len(image)) or plain(self, image)
    )
    for name in ("first", "second"):
        trainer = make_trainer("SkipTuning", *OPTIONS[:2], *VIEWS, output=tmp_path / name)
        trainer.train()
        runs.append((sum(encoded), trainer.model.prompt_learner.state_dict()))
        assert trainer.views.features(torch.tensor([4, 0])).shape == (2, 17, 64)
    assert [n for n, _ in runs] == [3 * 36, 3 * 36]
    assert all(torch.equal(value, runs[1][1][name]) for name, value in runs[0][1].items())
    kinds = [name for name in os.listdir(trainer.frozen.store.folder) if name != "contents"]
    assert len(kinds) == 3 and all(kind.startswith("outputs-") for kind in kinds)  # a view is a kind


def test_a_test_draws_nothing_from_pythons_generator(make_trainer, monkeypatch):
    """By which batches of one class are drawn, and so may what the first test of a process imports, as rich does."""
    trainer = make_trainer("SkipTuning", *OPTIONS, "OPTIM.MAX_EPOCH", 1)
    evaluate = trainer.evaluator.evaluate
    monkeypatch.setattr(trainer.evaluator, "evaluate", lambda: (random.random(), evaluate())[1])
    before = random.getstate()
    trainer.test()
    assert random.getstate() == before
