import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import layout, records
from harness.layout import PARTS, Place, place_of
from harness.report.runs import find_runs
from tests.harness.runs import finish, run_dir

name = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1).filter(
    lambda text: text not in (".", "..") and text == text.strip("\n")
)


@given(st.sampled_from(sorted(PARTS)), name, st.integers(-1, 99), name, name, st.integers(0, 999))
@settings(max_examples=50)
def test_a_folder_and_back(folder, dataset, shots, trainer, cfg, seed):
    place = Place(folder, dataset, str(shots), trainer, cfg, seed)
    assert place_of(place.below("/some/output")) == ("/some/output", place)


def test_forks_leave_base2new_out():
    assert place_of("/out/train_base/dtd/shots_16/CoOp/vit/seed1")[1].folder == "base2new/train_base"
    assert place_of("/out/elsewhere/dtd/shots_16/CoOp/vit/seed1") is None


def test_a_run_that_was_moved_is_the_same(tmp_path):
    one, other = (run_dir(tmp_path / output, "source", 1) for output in ("old", "new"))
    assert layout.same_run(one, other) and not layout.same_run(one, run_dir(tmp_path / "old", "source", 2))
    assert layout.same_run(tmp_path, f"{tmp_path}/x/..") and not layout.same_run(tmp_path, tmp_path / "x")


# ---- what counts as a result -------------------------------------------------------------------------------

TESTED = {"split": "test", "accuracy": 50.0, "trained_epochs": 2, "max_epoch": 2, "model_dir": ""}
UNTESTED = {"split": None, "trained_epochs": 2, "max_epoch": 2, "model_dir": ""}


@pytest.mark.parametrize(
    ("record", "result", "trained"),
    [
        (TESTED, True, True),
        ({"accuracy": 50.0, "epoch": 1}, True, True),  # of an older version
        (UNTESTED, False, True),
        ({**UNTESTED, "split": "val", "val": {"accuracy": 50.0}}, False, True),
        ({**TESTED, "split": "val"}, False, True),
        ({**UNTESTED, "trained_epochs": 1}, False, False),
        ({**TESTED, "model_dir": "/elsewhere"}, True, False),  # a test's
        ({}, False, False),
    ],
)
def test_one_place_decides_what_is_finished(record, result, trained):
    assert (records.has_result(record), records.is_trained(record)) == (result, trained)


@pytest.mark.parametrize("cut", range(1, len(json.dumps(TESTED)), 7))
def test_a_record_that_is_cut_is_no_result_for_anyone(tmp_path, cut):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(json.dumps(TESTED)[:cut])
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and str(path) in warning
    assert records.record_of(path.parent) == {}


@pytest.mark.parametrize(
    "text", ["[]", "3", '"x"', "null", '{"accuracy": "high"}', '{"accuracy": 101}', '{"accuracy": NaN}']
)
def test_a_record_of_something_else_is_named(tmp_path, text):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(text)
    with pytest.raises(ValueError, match="cannot be read as a run's result"):
        records.read_record(path.parent)


def test_what_was_not_tested_on_the_test_split_is_missing(tmp_path):
    """And its log, which has the validation accuracy, is not asked."""
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(json.dumps({**UNTESTED, "split": "val", "val": {"accuracy": 90.0}}))
    (path.parent / "log.txt").write_text("Finish training\nEvaluate on the *val* set\n=> result\n* accuracy: 90.0%\n")
    (run,), warnings = find_runs(tmp_path)
    assert run.accuracy is None and warnings == []


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("seed", 2, 'of the seed "2", not "1"'),
        ("shots", 4, 'of the shots "4", not "16"'),
        ("trainer", "CoOp", 'of the trainer "CoOp", not "SEP"'),
        ("subsample_classes", "new", 'of the classes "new", not "base"'),
        ("given", {"dataset_config": "dtd"}, 'of the data set "dtd", not "shapes"'),
        ("given", {"config": "mine"}, 'of the config "mine", not "shapes"'),
    ],
)
def test_a_record_of_another_run_than_its_folder_says(tmp_path, key, value, named):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and named in warning and str(path) in warning


# ---- logs --------------------------------------------------------------------------------------------------


def block(split, accuracy):
    return f"Evaluate on the *{split}* set\n=> result\n* accuracy: {accuracy}%\n"


@pytest.mark.parametrize(
    ("log", "trained", "tested"),
    [
        ("Finish training\n" + block("test", 70.0), 70.0, 70.0),
        (block("val", 90.0) + "Finish training\n", None, None),  # the final test crashed
        (block("val", 90.0) + "Finish training\n" + block("test", 70.0), 70.0, 70.0),
        ("Finish training\n" + block("val", 90.0), None, None),
        ("Finish training\n" + block("train", 90.0), None, None),
        ("Finish training\n" + block("", 90.0), None, None),
        ("Finished training\n=> result\n* accuracy: 70.0%\n", 70.0, 70.0),  # a fork that does not say
        ("Finish training\n" + block("test", 70.0) + block("val", 90.0), 70.0, 70.0),
    ],
)
def test_a_line_counts_for_what_it_says_it_evaluated(log, trained, tested):
    for signals, expected in ((layout.TRAINED, trained), (layout.TESTED, tested)):
        assert layout.value_in_log(log.splitlines(), "accuracy", signals) == expected


def test_last_epoch(tmp_path):
    assert layout.last_epoch(tmp_path) == 0
    folder = run_dir(tmp_path, "base", 1) / "prompt_learner"
    folder.mkdir(parents=True)
    for file in ("model.pth.tar-9", "model.pth.tar-10", "model.pth.tar-11.tmp-3", "model-best.pth.tar", "checkpoint"):
        (folder / file).touch()
    assert layout.last_epoch(folder.parent) == 10
