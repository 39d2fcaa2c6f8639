import math
import re
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import pytest
import torch

from datasets.shapes.world import CLASSNAMES, COLOURS, SHAPES
from pretraining import data, training
from pretraining.model import new_model
from pretraining.training import pretrain
from tests.conftest import REPOSITORY
from trainers.backbone.clip_loader import load_clip
from trainers.prompting.prompt_text import tokenize

WEIGHTS = REPOSITORY / "assets" / "shapes-tiny.pt"
CARD = (REPOSITORY / "assets" / "MODEL_CARD.md").read_text()
TINY = {"epochs": 2, "data_size": 48, "batch_size": 16, "seed": 1}  # six steps, all three stages


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Six steps: no pictures are drawn by other processes, no accuracy is measured after each epoch."""
    monkeypatch.setattr(data.multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(training, "_accuracy", lambda path: "")


def test_learning_rate():
    rates = [training.rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-3 / 60) and max(rates) == rates[60] == 1e-3
    assert rates[60:] == sorted(rates[60:], reverse=True) and rates[-1] < 1e-8
    assert rates[530] == pytest.approx(0.5e-3 * (1 + math.cos(math.pi / 2)))


def test_training_from_scratch_gives_a_clip(tmp_path):
    path = tmp_path / "deep" / "clip.pt"
    pretrain(path, **TINY)

    model = load_clip(str(path))
    assert model.visual.input_resolution == 64 and model.vocab_size == 49408
    assert len(model.visual.transformer.resblocks) == 6 and len(model.transformer.resblocks) == 4
    assert not path.with_name("clip.pt.resume").exists()
    fresh = new_model(seed=1).token_embedding.weight
    changed = (model.token_embedding.weight - fresh).abs().amax(1) > 1e-4  # half precision alone changes 3e-5
    assert 0 < changed.sum() < 100  # rows that no caption uses are those that the loader fills in
    unused = tokenize(["zebra"])[0, 1]
    assert torch.equal(model.token_embedding.weight[unused], fresh[unused])


def test_an_interrupted_run_ends_like_a_whole_one(tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    pretrain(whole, **TINY)

    train_step = training.train_step

    def interrupted(learner, vocabulary, data, step, *args):
        if step == 4:
            raise KeyboardInterrupt
        return train_step(learner, vocabulary, data, step, *args)

    monkeypatch.setattr(training, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(parts, **TINY)
    assert parts.exists()  # the first epoch's weights can be used
    monkeypatch.setattr(training, "train_step", train_step)
    pretrain(parts, **TINY)

    first, second = (torch.load(p, weights_only=True) for p in (whole, parts))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_the_bundled_file_is_small_and_half_precision():
    assert WEIGHTS.stat().st_size < 6_000_000
    state = torch.load(WEIGHTS, weights_only=True)
    kinds = {k: v.dtype for k, v in state.items() if k not in ("token_embedding.rows", "vocab_size")}
    assert set(kinds.values()) == {torch.float16}
    rows = set(state["token_embedding.rows"].tolist())
    for word in [*COLOURS, *SHAPES]:
        assert set(data.tokenizer.encode(word)) <= rows


def test_the_bundled_file_is_as_good_as_its_card_says():
    stated = [float(x) for x in re.search(r"\| zero-shot \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", CARD).groups()]
    assert 50 <= stated[0] <= 85
    measured = training.zero_shot(WEIGHTS, per_class=2)  # 200 pictures: a standard error of about 3 points
    for accuracy, figure in zip(measured, stated):
        assert abs(accuracy - figure) < 11
    assert len(CLASSNAMES) == 100
