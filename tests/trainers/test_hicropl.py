"""HiCroPL beyond the golden numbers: what its variants leave behind, and sentences, which tests read as well."""

import json

import pytest
import torch

from inference.api import load_run
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.prompting.model import normalise
from trainers.prompting.sentences import encode_sentences

OPTIONS = METHODS["hicropl"].options
FILE = "TRAINER.HICROPL.SENTENCES"
TEXTS = {
    name: [f"A {name} is here.", f"{name}, seen from afar.", "Something."][: 1 + i % 3]
    for i, name in enumerate(CLASSNAMES)
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sentences.json"
    path.write_text(json.dumps(TEXTS))
    return str(path)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_what_is_written_into_the_prompts(build, batch_of_six, variant):
    """In training, by "released" alone; a prediction leaves nothing, and is of the prompts mapped once."""
    model = build(f"hicropl{'-released' * (variant == 'released')}")
    learner = model.prompt_learner
    before = {name: p.clone() for name, p in learner.named_parameters()}
    mapped = [[p.detach().clone() for p in side] for side in learner.mapped()]
    with torch.no_grad():
        first, again = model.eval()(batch_of_six), model(batch_of_six)
        losses = model.train()(batch_of_six, torch.arange(6))[1]
    assert torch.equal(first, again)
    written = {name for name, p in learner.named_parameters() if not torch.equal(p, before[name])}
    # of two layers the first is mapped for images, the second for text
    assert written == ({"deep_ctx.0", "ctx_visual.0"} if variant == "released" else set())
    if written:
        assert torch.equal(learner.deep_ctx[0], mapped[0][1]) and torch.equal(learner.ctx_visual[0], mapped[1][0])
    else:
        sum(model(batch_of_six, torch.arange(6))[1].values()).backward()
        assert all(p.grad is not None for p in learner.parameters())
    assert sum(losses.values()).isfinite()


def test_released_trains_prompts_alone(build):
    learner = build("hicropl-released").prompt_learner
    trained = {name.partition(".")[0] for name, p in learner.named_parameters() if p.requires_grad}
    assert trained == {"ctx", "deep_ctx", "ctx_visual"}


@pytest.fixture
def batch_of_six():
    torch.manual_seed(1)
    return torch.randn(6, 3, 32, 32)


def test_frozen_text_is_the_mean_of_sentences(build, tiny_clip, file):
    means = [normalise(encode_sentences(tiny_clip(), [texts]).features.mean(dim=0)) for texts in TEXTS.values()]
    torch.testing.assert_close(build("hicropl", FILE, file).hand_features, torch.stack(means))
    hand = build("zsclip", "DATASET.TEMPLATE", "a drawing of a {}.").encode_text()
    torch.testing.assert_close(build("hicropl", "DATASET.TEMPLATE", "a drawing of a {}.").hand_features, hand)


def test_a_test_reads_sentences_of_its_classes(make_trainer, run, tmp_path, file):
    """On the training's data set those of the training, on others any; none only if the training had none."""
    folder, _ = run(METHODS["hicropl"], FILE, file)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**TEXTS, "cat": ["It purrs."]}))

    def load(name, *options):
        test = make_trainer("HiCroPL", *OPTIONS, *options, "OPTIM.MAX_EPOCH", 1, output=tmp_path / "test")
        test.loader.settings = {**test.settings, "DATASET.NAME": name}
        test.load_model(folder)

    load("TinyData", FILE, file)
    load("Elsewhere", FILE, str(other))
    for name, options in (("TinyData", (FILE, str(other))), ("TinyData", ()), ("Elsewhere", ())):
        with pytest.raises(ValueError, match="was trained with TRAINER.HICROPL.SENTENCES_CHECKSUM .* KEY VALUE pairs"):
            load(name, *options)
    with pytest.raises(ValueError, match='SENTENCES\\) have none of class "wolf": add some, or leave'):
        load_run(folder, [*CLASSNAMES, "wolf"])
    assert torch.equal(
        load_run(folder).text_views()["hand-crafted"], load_run(folder, CLASSNAMES).text_views()["hand-crafted"]
    )
