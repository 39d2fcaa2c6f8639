"""Averages without each data set in turn, by hand."""

import pytest

from harness.report.leave_one_out import leave_one_out_tables
from harness.report.runs import find_runs
from tests.harness.runs import as_dicts, finish
from tools.report import main

# method -> data set -> base accuracies of two seeds; new is 50 everywhere
BASE = {
    "SEP": {"dtd": (60.0, 62.0), "eurosat": (90.0, 94.0), "food101": (70.0, 70.0)},
    "CoOp": {"dtd": (70.0, 70.0), "eurosat": (60.0, 60.0), "food101": (80.0, 80.0)},
    "MaPLe": {"dtd": (61.0, 61.0), "eurosat": (91.0, 91.0), "food101": (70.0, 70.0)},
}


@pytest.fixture
def output(tmp_path):
    for trainer, of in BASE.items():
        for dataset, values in of.items():
            for seed, value in enumerate(values, start=1):
                finish(tmp_path, "base", seed, value, trainer=trainer, dataset=dataset)
                finish(tmp_path, "new", seed, 50.0, trainer=trainer, dataset=dataset)
    return tmp_path


def h(base, new=50.0):
    return f"{2 * base * new / (base + new):.2f}"


def test_each_average_is_of_the_other_data_sets(output):
    (table,) = leave_one_out_tables(find_runs(output)[0], "base2new")
    rows = {row["method"]: row for row in as_dicts(table)}
    assert table.title == "Base-to-new, leaving one out: H, 16 shots"
    sep, coop = rows["SEP"], rows["CoOp"]
    assert sep["average"].startswith(h((61 + 92 + 70) / 3)) and "±" in sep["average"]
    assert [sep[f"without {name}"] for name in ("dtd", "eurosat", "food101")] == [h(81), h(65.5), h(76.5)]
    assert coop["without eurosat"] == h(75)


def test_what_the_order_hangs_on(output):
    (table,) = leave_one_out_tables(find_runs(output)[0], "base2new")
    sep, maple, coop = as_dicts(table)
    assert [row["method"] for row in (sep, maple, coop)] == ["SEP", "MaPLe", "CoOp"]
    # SEP's base average is 74.33, seeds 73.33 and 75.33; MaPLe's is 74.00, so ahead by less than that
    assert sep["within the spread of"] == "MaPLe"
    assert sep["behind without"] == "CoOp without eurosat" and maple["behind without"] == "CoOp without eurosat"
    assert (coop["behind without"], coop["within the spread of"]) == ("—", "—")


def test_a_method_without_all_data_sets_is_left_out(output, capsys):
    finish(output, "base", 1, 50.0, trainer="KgCoOp", dataset="dtd")
    (table,) = leave_one_out_tables(find_runs(output)[0], "base2new")
    assert len(table.rows) == 3 and "left out" in table.notes[0]
    assert main([str(output), "--leave-one-out"]) == 0 and "without eurosat" in capsys.readouterr().out


def test_one_data_set_has_no_such_table(tmp_path, capsys):
    finish(tmp_path, "base", 1, 50.0)
    finish(tmp_path, "new", 1, 50.0)
    assert leave_one_out_tables(find_runs(tmp_path)[0], "base2new") == []
    assert main([str(tmp_path), "--leave-one-out"]) == 2 and "several data sets" in capsys.readouterr().err


def test_targets_alone_are_averaged(tmp_path):
    finish(tmp_path, "source", 1, 90.0, dataset="imagenet")
    for dataset, value in (("dtd", 40.0), ("food101", 60.0)):
        finish(tmp_path, "target", 1, value, source="imagenet", dataset=dataset)
    (table,) = leave_one_out_tables(find_runs(tmp_path)[0], "xd")
    (row,) = as_dicts(table)
    assert (row["average"], row["without dtd"], row["without food101"]) == ("50.00", "60.00", "40.00")
