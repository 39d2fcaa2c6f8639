import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness import records
from harness.report.runs import find_runs
from tests.conftest import REPOSITORY
from tests.harness.runs import finish

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
        ({**TESTED, "epoch": 1}, False, True),  # a test of an epoch on the way
        ({**TESTED, "epoch": 1, "settings": {"TEST.FINAL_MODEL": "best_val"}}, True, True),
        ({**TESTED, "epoch": 1, "settings": {"TEST.FINAL_MODEL": "best_val"}, "final_model": False}, False, True),
        ({**TESTED, "epoch": 1, "imported": {"code": "theirs"}}, True, True),  # what public code kept
        ({**TESTED, "epoch": 3, "trained_epochs": 3, "max_epoch": 50}, False, False),
        ({**TESTED, "epoch": 0, "trained_epochs": 0, "max_epoch": 0}, True, True),  # nothing to train
        ({}, False, False),
    ],
)
def test_one_place_decides_what_is_finished(record, result, trained):
    assert (records.has_result(record), records.is_trained(record)) == (result, trained)


@pytest.mark.parametrize("cut", range(1, len(json.dumps(TESTED)), 25))
def test_a_record_that_is_cut_is_no_result_for_anyone(tmp_path, cut):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(json.dumps(TESTED)[:cut])
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and str(path) in warning
    assert records.record_of(path.parent) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("[]", "it is a list, but must be a section"),
        ("3", "it is 3, but must be"),
        ('"x"', "it is 'x', but must be"),
        ("null", "it is nothing"),
        ("{}", "has no key 'accuracy'"),
        ('{"accuracy": "80"}', "accuracy is '80', but must be a number"),
        ('{"accuracy": null}', "accuracy is nothing (null), but must be a number"),
        ('{"accuracy": true}', "accuracy is True, but must be a number"),
        ('{"accuracy": 101}', "accuracy is 101, which is no percentage"),
        ('{"accuracy": NaN}', "NaN is no number that can be used"),
        ('{"seconds": Infinity, "accuracy": 2}', "Infinity is no number"),
        ('{"n": 1e999}', "1e999 is no number"),
        ('{"accuracy": 1, "accuracy": 2}', "the key accuracy is there twice"),
    ),
)
def test_a_record_of_something_else_is_named_and_missing(tmp_path, text, said):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(text)
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and warning.startswith(str(path)) and said in warning and "\n" not in warning
    assert warning.endswith("; test that run again")


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
        ("dataset", "MiniObjects", 'of the DATASET.NAME "MiniObjects", not "Shapes"'),
        ("given", {"dataset_config": "dtd"}, 'of the data set "dtd", not "shapes"'),
        ("given", {"config": "mine"}, 'of the config "mine", not "shapes"'),
    ],
)
def test_a_record_of_another_run_than_its_folder_says(tmp_path, key, value, named):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and named in warning and str(path) in warning


EARLIER = REPOSITORY / "tests/earlier_runs/base2new/train_base/caltech101/shots_4/CoOp/shapes/seed1"
RECORD = records.read_record(EARLIER)


def refused(tmp_path, record):
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="metrics.json") as error:
        records.read_record(tmp_path)
    assert "\n" not in str(error.value)
    return str(error.value)


@given(st.sampled_from(["accuracy", "error_rate"]), st.floats(0, 100))
@example("accuracy", 0.85)
@example("accuracy", 0.2549019607843137)
def test_one_number_that_was_changed_contradicts_the_others(tmp_path_factory, key, value):
    assume(abs(value - RECORD[key]) > 1e-5)
    assert "contradicts itself: accuracy is " in refused(tmp_path_factory.mktemp("run"), {**RECORD, key: value})


@given(st.floats(0, 100), st.integers(-2, 2000))
def test_so_many_of_so_many_images_are_right(tmp_path_factory, accuracy, n):
    folder = tmp_path_factory.mktemp("run")
    record = {"accuracy": accuracy, "error_rate": 100 - accuracy, "n": n}
    if n > 0:
        right = {**record, "accuracy": 100 * round(accuracy * n / 100) / n}
        right["error_rate"] = 100 - right["accuracy"]
        (folder / "metrics.json").write_text(json.dumps(right))
        assert records.read_record(folder) == right
        assume(abs(accuracy * n / 100 - round(accuracy * n / 100)) > 1e-5 * n)
    refused(folder, record)


@pytest.mark.parametrize(
    "change",
    [
        {"macro_f1": 100.0},
        {"macro_f1": 0},
        {"macro_f1": 100.5},
        {"perclass_accuracy": -1.0},
        {"n": 50},
        {"n": 0},
        {"n_cls": 8},
        {"classnames": ["one"]},
        {"epoch": 4},
        {"epoch": -1, "trained_epochs": -1},
        {"seed": 2},
        {"shots": 16},
        {"trainer": "SEP"},
        {"dataset": "Shapes"},
        {"subsample_classes": "new"},
        {"settings": {**RECORD["settings"], "OPTIM.LR": 0.5}},
    ],
)
def test_what_is_said_twice_is_the_same(tmp_path, change):
    assert "contradicts itself" in refused(tmp_path, {**RECORD, **change})
