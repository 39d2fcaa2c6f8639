import json
from types import SimpleNamespace

import pytest
import yaml

from harness.errors import UserError
from harness.running.claim import Claim, claim

SETTINGS = {"OPTIM.LR": 0.1, "SEED": 1}
FINISHED = {"settings": SETTINGS, "split": "test", "accuracy": 50.0, "trained_epochs": 2, "max_epoch": 2}


@pytest.fixture
def claimed(tmp_path):
    """claimed(record, settings, ...) -> the Claim of tmp_path / run, which holds that record."""

    def call(record=None, settings=SETTINGS, trained=False, eval_only=False, model_dir="", no_train=False, **test):
        folder = tmp_path / "run"
        (folder / "prompt_learner").mkdir(parents=True, exist_ok=True)
        if trained:
            (folder / "prompt_learner/model.pth.tar-2").touch()
        if record:
            (folder / "metrics.json").write_text(json.dumps(record))
        asked = dict(NO_TEST=False, SPLIT="test", SAVE_PREDICTIONS=False, COMPUTE_CMAT=False, PER_CLASS_RESULT=False)
        cfg = SimpleNamespace(OUTPUT_DIR=str(folder), TEST=SimpleNamespace(**{**asked, **test}))
        args = SimpleNamespace(eval_only=eval_only, model_dir=str(model_dir), no_train=no_train)
        return claim(args, cfg, lambda: settings)

    return call


def test_an_empty_folder_is_free_and_a_finished_training_is_not_done_again(claimed):
    assert claimed() == Claim({}, is_free=True)
    assert claimed(trained=True) == Claim({}, is_free=False)  # it goes on
    assert claimed(FINISHED) == Claim(FINISHED, is_free=False)
    assert claimed(settings={"SEED": 2}, no_train=True) == Claim({}, is_free=False)


def test_what_a_finished_training_has_not_left_is_made(claimed, tmp_path):
    for key in ("SAVE_PREDICTIONS", "COMPUTE_CMAT", "PER_CLASS_RESULT"):
        assert not claimed(FINISHED, trained=True, **{key: True}).finished
    (tmp_path / "run/predictions.npz").touch()
    assert claimed(FINISHED, SAVE_PREDICTIONS=True).finished
    untested = {key: FINISHED[key] for key in ("settings", "trained_epochs", "max_epoch")}
    assert not claimed(untested).finished and claimed(untested, NO_TEST=True).finished


def test_other_settings_are_refused_by_the_record_or_the_config(claimed, tmp_path):
    with pytest.raises(
        UserError, match="run holds the result of a run with OPTIM.LR 0.1 and SEED 1, but this one has 0.2 and 2:"
    ):
        claimed(FINISHED, {"OPTIM.LR": 0.2, "SEED": 2, "A.NEW.KEY": 3})
    (tmp_path / "run/metrics.json").unlink()
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump({"SEED": 1}))
    with pytest.raises(UserError, match="run holds checkpoints of a run with SEED 1, but this one has 2: use another"):
        claimed(None, {"SEED": 2}, trained=True)


def test_another_model_is_refused(claimed, tmp_path):
    tested = {**FINISHED, "model_dir": str(tmp_path / "model")}
    (tmp_path / "model").mkdir()
    assert claimed(tested, eval_only=True, model_dir=tmp_path / "model") == Claim({}, is_free=True)
    for options in ({"eval_only": True, "model_dir": tmp_path / "other"}, {}):
        with pytest.raises(UserError, match=f"run holds the result of a test of {tmp_path}/model: use another"):
            claimed(tested, **options)
    with pytest.raises(UserError, match="run holds a training of its own: use another"):
        claimed(FINISHED, trained=True, eval_only=True, model_dir=tmp_path / "model")
