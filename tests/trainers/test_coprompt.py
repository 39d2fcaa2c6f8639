"""CoPrompt beyond the golden numbers: what the frozen CLIP sees, and where sentences come from."""

import json

import pytest
import torch
from torch.nn import functional as F

from inference.api import load_run
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.prompting.model import normalise
from trainers.prompting.sentences import encode_sentences

OPTIONS = METHODS["coprompt"].options
FILE = "TRAINER.COPROMPT.SENTENCES"
TEXTS = {name: [f"A {name} is here.", f"{name}, seen from afar.", "Something."] for name in CLASSNAMES}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sentences.json"
    path.write_text(json.dumps(TEXTS))
    return path


@pytest.fixture
def views():
    torch.manual_seed(1)
    return [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32)]


def losses_of(model, image):
    with torch.no_grad():
        return model(image, torch.arange(6))[1]


def test_the_frozen_clip_sees_the_other_view(build, views):
    model = build("coprompt", "DATASET.NAME", "StanfordCars")
    with torch.no_grad():
        f, f0 = model.encode_image(views[0]), normalise(model.image_encoder(views[1]))
        expected = 4 * (1 - F.cosine_similarity(f, f0).mean())
    losses = losses_of(model, views)
    torch.testing.assert_close(losses["con_image"], expected)
    one = losses_of(model, views[0])
    assert torch.equal(one["ce"], losses["ce"]) and torch.equal(one["con_text"], losses["con_text"])
    assert abs(one["con_image"] - losses["con_image"]) > 1e-3
    assert torch.equal(one["con_image"], losses_of(model, [views[0], views[0]])["con_image"])


def test_without_sentences_the_template_takes_their_place(build, views):
    model = build("coprompt", "DATASET.TEMPLATE", "a drawing of a {}.")
    hand = build("zsclip", "DATASET.TEMPLATE", "a drawing of a {}.").encode_text()
    with torch.no_grad():
        expected = 1 - F.cosine_similarity(model.encode_text(), hand).mean()
    torch.testing.assert_close(losses_of(model, views)["con_text"], expected)


def test_each_step_draws_a_sentence_of_each_class(build, tiny_clip, views, file):
    model = build("coprompt", FILE, str(file))
    g0 = encode_sentences(tiny_clip(), TEXTS.values()).features.unflatten(0, (6, 3))
    with torch.no_grad():
        g = model.encode_text()[:, None]
        expected = 1 - F.cosine_similarity(g, g0, dim=-1).mean(dim=0)  # of each place in the lists
    found = [losses_of(model, views)["con_text"] for _ in range(30)]
    nearest = [(expected - value).abs().min(dim=0) for value in found]
    assert max(distance for distance, _ in nearest) < 1e-6
    assert {place.item() for _, place in nearest} == {0, 1, 2}


def test_a_training_without_its_file_does_not_start(make_trainer, tmp_path, file):
    trainer = make_trainer("CoPrompt", *OPTIONS, FILE, str(file))
    file.write_text(json.dumps({"cat": ["It purrs."]}))
    with pytest.raises(ValueError, match='SENTENCES\\) have none of class "polar_bear" and 4 more: add some'):
        trainer.train()
    with pytest.raises(ValueError, match=r"nowhere \(TRAINER.COPROMPT.SENTENCES\) cannot be read \(No such file"):
        make_trainer("CoPrompt", *OPTIONS, FILE, str(tmp_path / "nowhere"))


def test_only_training_needs_the_file(make_trainer, run, tmp_path, file):
    """A test of other classes has other sentences or none, and who uses the model need not have the file."""
    folder, _ = run(METHODS["coprompt"], FILE, str(file))
    other = tmp_path / "other.json"
    other.write_text("{}")
    for options in ((), (FILE, str(other))):
        test = make_trainer("CoPrompt", *OPTIONS, *options, "OPTIM.MAX_EPOCH", 1, output=tmp_path / "test")
        test.load_model(folder)
        test.test()
    file.unlink()
    assert load_run(folder).classnames == CLASSNAMES


def test_the_loaders_two_views_reach_the_model(make_trainer, monkeypatch):
    trainer = make_trainer("CoPrompt", *OPTIONS, "DATALOADER.K_TRANSFORMS", 2, "OPTIM.MAX_EPOCH", 1)
    seen, original = [], trainer.model.forward
    monkeypatch.setattr(trainer.model, "forward", lambda image, *a, **k: seen.append(image) or original(image, *a, **k))
    trainer.train()
    steps = [image for image in seen if isinstance(image, list)]
    assert len(steps) == trainer.num_batches and all(len(views) == 2 for views in steps)
    assert not any(torch.equal(*views) for views in steps)


@pytest.mark.parametrize(("trainer", "views", "most"), [("CoPrompt", 3, "1 to 2"), ("CoOp", 2, "1")])
def test_more_views_than_a_step_takes(make_trainer, trainer, views, most):
    with pytest.raises(ValueError, match=f"K_TRANSFORMS must be {most} for {trainer}"):
        make_trainer(trainer, "DATALOADER.K_TRANSFORMS", views)
