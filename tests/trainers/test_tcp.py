"""TCP beyond the golden numbers: what makes a prompt class-aware, and where it enters."""

import pytest
import torch

from tests.tiny import CLASSNAMES
from trainers.prompting.model import encode_prompts
from trainers.prompting.prompt_text import tokenize


def test_features_of_a_class_depend_on_its_own_name_only(build):
    among_all = build("tcp").encode_text()
    for i, name in enumerate(CLASSNAMES):
        torch.testing.assert_close(build("tcp", classnames=[name]).encode_text()[0], among_all[i], atol=1e-6, rtol=0)


def test_tokens_enter_at_their_layer(build, deeper_clip, monkeypatch):
    """In the last layer of three and nowhere else: what the context has become before it is thrown away there."""
    model = build("tcp", "TRAINER.TCP.LAYER", 2, clip_model=deeper_clip())
    seen = []
    for name in ("_layer", "_last_layer"):
        walk = getattr(model.text_encoder, name)
        spy = lambda block, tokens, *rest, walk=walk: (seen.append(tokens.read(1, 5)), walk(block, tokens, *rest))[1]  # noqa: E731
        monkeypatch.setattr(model.text_encoder, name, spy)
    model.encode_text()
    ours = model.prompt_learner.class_prompts(model.hand_features)
    ours = ours[model.prompt_learner.sequences.rows]
    assert [torch.equal(x, ours) for x in seen] == [False, False, True]


@pytest.mark.parametrize(
    ("data_set", "learned", "hand"),
    [
        ("OxfordPets", "X X X X {}, a type of pet.", "a photo of a {}, a type of pet."),
        ("OxfordFlowers", "X X X X {}, a type of flower.", "a photo of a {}, a type of flower."),
        ("FGVCAircraft", "X X X X {}, a type of aircraft.", "a photo of an aircraft {}."),
        ("DescribableTextures", "X X X X {} texture.", "a photo of a {}, a type of texture."),
        ("StanfordCars", "X X X X {}, a type of car", "a photo of a {}."),
        ("Food101", "X X X X {}, a type of food.", "a photo of a {}, a type of food."),
        ("UCF101", "X X X X person doing {}.", "a photo of a person doing {}."),
        ("EuroSAT", "X X X X {}.", "a centered satellite photo of {}."),
        ("SUN397", "X X X X {}.", "a photo of a {}."),
        ("SomebodysOwn", "X X X X {}.", "a photo of a {}."),
    ],
)
def test_words_of_a_data_set(build, tiny_clip, data_set, learned, hand):
    """Both as in the authors' code, which words the learned prompt and the hand-crafted one apart."""
    model = build("tcp", "DATASET.NAME", data_set, classnames=["ox", "cat"])
    expected = tokenize([learned.format("ox"), learned.format("cat")])
    assert torch.equal(model.prompt_learner.sequences.tokenized_prompts, expected)
    torch.testing.assert_close(model.hand_features, encode_prompts(tiny_clip(), [hand], ["ox", "cat"]))
