"""Config keys of methods: what a backbone has no room for, words of a context, and authors' numbers by data set."""

import pytest
import torch

from tests.tiny import CLASSNAMES, written_out
from trainers.errors import UserError
from trainers.prompting.prompt_text import embed, tokenize

TOO_LITTLE = [  # row of methods.py, key, value that the tiny CLIP (3 layers of images, 2 of text) does not fit, and why
    ("maple", "MAPLE.PROMPT_DEPTH", 0, "choose 1 to 2"),
    ("maple", "MAPLE.PROMPT_DEPTH", 3, "choose 1 to 2"),
    ("promptsrc", "PROMPTSRC.PROMPT_DEPTH_TEXT", 3, "choose 1 to 2"),
    ("promptsrc", "PROMPTSRC.PROMPT_DEPTH_VISION", 4, "choose 1 to 3"),
    ("promptsrc", "PROMPTSRC.PROMPT_DEPTH_VISION", 0, "choose 1 to 3"),
    ("promptsrc", "PROMPTSRC.N_CTX_TEXT", 5, 'but CTX_INIT "a photo of a" has 4 tokens.*choose 1 to 4'),
    ("tcp", "TCP.LAYER", 0, "1 layer: choose 1.$"),  # it would throw the context away unread
    ("tcp", "TCP.LAYER", 2, "1 layer: choose 1.$"),
    ("hicropl", "HICROPL.CROSS_LAYER", 2, r"but of 2 layers .* one or more must be .*: choose 1\."),
    ("mma", "MMA.LAYER", 2, "but this backbone has layers 0 to 1: choose one of them"),
    ("mma_pp", "MMAPP.LAYER", 2, "but this backbone has layers 0 to 1: choose one of them"),
    ("mmrl", "MMRL.LAYER", 2, "but this backbone has layers 0 to 1: choose one of them"),
    ("mmrl_pp", "MMRLPP.LAYER", 2, "but this backbone has layers 0 to 1: choose one of them"),
    ("skip_tuning", "SKIPTUNING.START_LAYER", 2, "but this backbone has layers 0 to 1: choose one of them"),
    ("sep", "SEP.N_CTX_V", 18, "but an image has 17 tokens .*: choose 1 to 17"),
    ("sep", "SEP.N_CTX_V", 10**9, "but an image has 17 tokens .*: choose 1 to 17"),
]


@pytest.mark.parametrize(("row", "key", "value", "why"), TOO_LITTLE)
def test_what_a_backbone_has_no_room_for(build, row, key, value, why):
    with pytest.raises(UserError, match=f"{key} is {value}.*{why}"):
        build(row, f"TRAINER.{key}", value)


@pytest.mark.parametrize("row, key", [("mma", "MMA.LAYER"), ("mma_pp", "MMAPP.LAYER")])
def test_adapters_where_both_encoders_have_the_layer(build, deeper_clip, row, key):
    assert len(build(row, f"TRAINER.{key}", 2, clip_model=deeper_clip()).prompt_learner.shared) == 1


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("maple", "MAPLE.N_CTX"),
        ("promptsrc", "PROMPTSRC.N_CTX_TEXT"),
        ("coprompt", "COPROMPT.N_CTX"),
        ("hicropl", "HICROPL.N_CTX"),
    ],
)
def test_first_words_are_learned_and_the_others_stay(build, tiny_clip, row, key):
    learner, words = build(row, f"TRAINER.{key}", 2).prompt_learner, embed(tiny_clip(), tokenize(["a photo of a cat."]))
    assert torch.equal(learner.ctx, words[0, 1:3])
    cat = written_out(learner.sequences(torch.zeros(2, 64)))[CLASSNAMES.index("cat")]
    assert torch.equal(cat[1:3], torch.zeros(2, 64))
    assert torch.equal(cat[3:8], words[0, 3:8])  # of, a, cat, ., EOS


OF_DATA_SETS = [  # row of methods.py, data set, what the authors have for it: the model's `w`, and one of its learner's
    ("coprompt", "ImageNet", 8.0, None),
    ("coprompt", "EuroSAT", 0.1, None),
    ("coprompt", "SomebodysOwn", 1.0, None),
    ("mmrl", "EuroSAT", 0.01, 2048),
    ("mmrl", "StanfordCars", 7.0, 512),
    ("mmrl", "SomebodysOwn", 1.0, 512),
    ("mmrl_pp", "EuroSAT", 0.01, 0.2),
    ("mmrl_pp", "StanfordCars", 6.0, 0.7),
    ("mmrl_pp", "SomebodysOwn", 1.0, 0.9),
]
SECOND = {"mmrl": lambda learner: learner.rep_tokens.shape[1], "mmrl_pp": lambda learner: learner.beta.item()}


@pytest.mark.parametrize(("row", "dataset", "w", "second"), OF_DATA_SETS)
def test_numbers_of_a_data_set(build, row, dataset, w, second):
    model = build(row, "DATASET.NAME", dataset)
    assert model.w == w and (second is None or SECOND[row](model.prompt_learner) == pytest.approx(second))


@pytest.mark.parametrize(
    ("row", "keys", "second"),
    [
        ("coprompt", {"COPROMPT.W": 0.0}, None),
        ("mmrl", {"MMRL.REG_WEIGHT": 0.0, "MMRL.REP_DIM": 96}, 96),
        ("mmrl_pp", {"MMRLPP.REG_WEIGHT": 0.0, "MMRLPP.BETA": 0.0}, 0.0),
    ],
)
def test_a_key_takes_the_place_of_a_data_sets_number(build, row, keys, second):
    model = build(row, "DATASET.NAME", "EuroSAT", *(x for key, v in keys.items() for x in (f"TRAINER.{key}", v)))
    assert model.w == 0 and (second is None or SECOND[row](model.prompt_learner) == second)
