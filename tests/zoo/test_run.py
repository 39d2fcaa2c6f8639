"""The run that an import makes: what is in it, what it says of itself, and what it refuses."""

import json
import os

import pytest
import torch

from tests.zoo import theirs
from trainers.errors import UserError
from trainers.run import checkpoint
from zoo.run import import_run

MORE = {
    "CoOp": ["TRAINER.COOP.CTX_INIT", "a photo of a"],
    "MaPLe": [],
    "PromptSRC": [],
    "TCP": ["TRAINER.TCP.LAYER", 1],
    "SEP": ["TRAINER.SEP.LAYERS", [1]],
}


@pytest.fixture
def imported(tmp_path, make_cfg):
    """imported(trainer, KEY, value, ..., weights=, given=) -> (config, Imported) of a run in tmp_path/run."""

    def make(trainer, *options, weights=None, given=(), epoch=3):
        source = theirs.save(tmp_path / f"model.pth.tar-{epoch}", weights or theirs.STATES[trainer](), epoch)
        cfg = make_cfg(trainer, *MORE.get(trainer, []), *options, output=tmp_path / "run")
        return cfg, import_run(cfg, source, given)

    return make


def record_of(tmp_path):
    return json.loads((tmp_path / "run" / "metrics.json").read_text())


@pytest.mark.parametrize("trainer", theirs.STATES)
def test_a_run_that_can_be_tested(tmp_path, imported, make_trainer, trainer):
    cfg, done = imported(trainer)
    assert sorted(os.listdir(tmp_path / "run")) == ["config.yaml", "metrics.json", "prompt_learner"]
    changed = [item for pair in done.changed.items() for item in pair]
    tester = make_trainer(trainer, *MORE.get(trainer, []), *changed, output=tmp_path / "test")
    tester.load_model(str(tmp_path / "run"))
    state = checkpoint.read(str(tmp_path / "run/prompt_learner/model.pth.tar-3"))
    for name, value in tester.model.prompt_learner.state_dict().items():
        assert torch.equal(value, state["state_dict"][name])
    tester.test()
    tested = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert tested["imported"] == record_of(tmp_path)["imported"] and "accuracy" in tested


def test_it_does_not_pretend_to_be_trained_here(tmp_path, imported, make_trainer):
    imported("KgCoOp")
    record = record_of(tmp_path)
    source = str(tmp_path / "model.pth.tar-3")
    assert record["imported"]["file"] == source and len(record["imported"]["sha256"]) == 64
    assert record["imported"]["code"] == "the public code of KgCoOp"
    assert record["split"] is None and not {"accuracy", "seconds", "peak_memory_mb"} & record.keys()
    assert (record["epoch"], record["trained_epochs"], record["max_epoch"]) == (3, 3, 3)
    trainer = make_trainer("KgCoOp", output=tmp_path / "run")
    with pytest.raises(UserError, match="an imported one, which can be tested but not resumed"):
        trainer.train()


def test_settings_are_taken_or_refused(tmp_path, imported):
    cfg, done = imported("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 9)
    assert done.changed == {"TRAINER.MAPLE.PROMPT_DEPTH": 2} and cfg.TRAINER.MAPLE.PROMPT_DEPTH == 2
    assert record_of(tmp_path)["settings"]["TRAINER.MAPLE.PROMPT_DEPTH"] == 2
    with pytest.raises(UserError, match=r"PROMPT_DEPTH is 9, but checkpoint .* was trained with 2: leave the key out"):
        imported("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 9, given=["TRAINER.MAPLE.PROMPT_DEPTH"])


@pytest.mark.parametrize(
    "trainer, tensors, changed",
    [
        ("CoOp", theirs.coop(4), {}),  # "a photo of a" has 4 tokens, so N_CTX 16 does not count
        ("CoOp", theirs.coop(16), {"TRAINER.COOP.CTX_INIT": ""}),
        ("MaPLe", theirs.maple(2), {"TRAINER.MAPLE.PROMPT_DEPTH": 2}),  # the other words stay in the prompt
        (
            "MaPLe",
            theirs.maple(6),
            {"TRAINER.MAPLE.PROMPT_DEPTH": 2, "TRAINER.MAPLE.N_CTX": 6, "TRAINER.MAPLE.CTX_INIT": ""},
        ),
    ],
)
def test_words_of_the_context(imported, trainer, tensors, changed):
    assert imported(trainer, weights=tensors)[1].changed == changed


def test_an_import_is_done_once(tmp_path, imported):
    assert imported("CoOp")[1].new
    before = (tmp_path / "run/metrics.json").stat().st_mtime_ns
    assert not imported("CoOp")[1].new and (tmp_path / "run/metrics.json").stat().st_mtime_ns == before
    (tmp_path / "run/metrics.json").unlink()  # as if it had been killed before its end
    assert imported("CoOp")[1].new and (tmp_path / "run/metrics.json").exists()
    with pytest.raises(UserError, match="holds something else already: use another --output-dir"):
        imported("CoOp", weights={**theirs.coop(), "ctx": torch.ones(4, 64)})
    with pytest.raises(UserError, match="holds something else already"):
        imported("CoOp", "SEED", 2)


@pytest.mark.parametrize(
    "trainer, options, sentence",
    [
        ("CoOp", {"weights": {"ctx": torch.zeros(4)}}, "where CoOp has"),
        ("CoOp", {"epoch": 4}, "is of epoch 4, but the config trains for 3 .OPTIM.MAX_EPOCH.: give the config"),
        ("MaPLe", {"weights": theirs.coop()}, '"prompt_learner.ctx" is missing'),
    ],
)
def test_nothing_is_written_of_what_does_not_fit(tmp_path, imported, trainer, options, sentence):
    with pytest.raises(UserError, match=sentence):
        imported(trainer, **options)
    assert not (tmp_path / "run").exists()


def test_other_methods(tmp_path, make_cfg):
    cfg = make_cfg("E2MIM", output=tmp_path / "run")
    with pytest.raises(UserError, match="E2MIM's public code cannot be imported: --trainer can be CoOp, CoCoOp"):
        import_run(cfg, "x")


def test_contexts_of_classes_are_tested_on_theirs(tmp_path, imported, make_trainer):
    """The file has no class names, so its data set and half must be those of the test."""
    options = ["TRAINER.COOP.CTX_INIT", "", "TRAINER.COOP.N_CTX", 4, "TRAINER.COOP.CSC", True]
    imported("CoOp", *options, "DATASET.SUBSAMPLE_CLASSES", "all", weights=theirs.coop(csc=True))
    make_trainer("CoOp", *options, output=tmp_path / "test").load_model(str(tmp_path / "run"))
    trainer = make_trainer("CoOp", *options, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "new")
    with pytest.raises(UserError, match="SUBSAMPLE_CLASSES 'all', but this run has 'new': its contexts are those of"):
        trainer.load_model(str(tmp_path / "run"))
