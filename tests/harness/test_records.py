import json

import pytest

from harness import records
from harness.report.runs import find_runs
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
    "text",
    [
        "[]",
        "3",
        '"x"',
        "null",
        "{}",
        '{"accuracy": "high"}',
        '{"accuracy": 101}',
        '{"accuracy": NaN}',
        '{"accuracy": true}',
    ],
)
def test_a_record_of_something_else_is_named_and_missing(tmp_path, text):
    path = finish(tmp_path, "base", 1, 50.0)
    path.write_text(text)
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None and str(path) in warning and "\n" not in warning


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
