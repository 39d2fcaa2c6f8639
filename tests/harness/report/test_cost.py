from harness.report.cost import NOT_RECORDED, UNTRAINED, cost_tables
from harness.report.runs import find_runs
from tests.harness.runs import as_dicts, finish


def costs(folder):
    (table,) = cost_tables(find_runs(folder)[0])
    return table, as_dicts(table)


def record(seconds, memory=1000.0, device="GPU", **more):
    return {"seconds": seconds, "peak_memory_mb": memory, "device": device, **more}


def test_median_over_the_seeds_of_a_training(tmp_path):
    for seed, seconds, memory in ((1, 100.0, 2000.4), (2, 400.0, 1000.0), (3, 110.0, 3000.0)):
        finish(tmp_path, "base", seed, 80.0, record=record(seconds, memory, learnable_parameters=8192))
    table, rows = costs(tmp_path)
    assert table.headers == ["data set", "method", "seconds", "memory", "parameters", "device", "n"]
    assert table.rows == [["shapes", "SEP", "110.0", "2000", "8,192", "GPU", "3"]]
    assert rows[0]["parameters"].value == 8192 and NOT_RECORDED not in table.notes


def test_parameters_that_are_not_on_record_are_a_dash_that_is_explained(tmp_path):
    finish(tmp_path, "base", 1, 80.0, record=record(100.0))
    table, rows = costs(tmp_path)
    assert rows[0]["parameters"] == "—" and NOT_RECORDED in table.notes


def test_tests_are_no_training(tmp_path):
    finish(tmp_path, "base", 1, 80.0, record=record(100.0))
    finish(tmp_path, "new", 1, 70.0, record=record(5.0, model_dir="x"))
    finish(tmp_path, "target", 1, 70.0, dataset="dtd", source="shapes", record=record(5.0))
    finish(tmp_path, "base", 2, 80.0, record=record(5.0, model_dir="x"))  # tested once more
    _, rows = costs(tmp_path)
    assert [(row["seconds"], row["n"]) for row in rows] == [("100.0", "1")]


def test_kinds_are_not_mixed(tmp_path):
    finish(tmp_path, "few_shot", 1, 80.0, shots=4, record=record(40.0))
    finish(tmp_path, "few_shot", 1, 80.0, shots=1, record=record(10.0))
    finish(tmp_path, "source", 1, 80.0, record=record(90.0))
    finish(tmp_path, "base", 1, 80.0, record=record(50.0))
    finish(tmp_path, "base", 2, 80.0, record=record(70.0, device="x86_64"))
    finish(tmp_path, "base", 1, 80.0, trainer="CoOp", record=record(30.0))
    table, rows = costs(tmp_path)
    assert [(r["shots"], r["method"], r["of"], r["seconds"], r["device"]) for r in rows] == [
        ("16", "CoOp", "base classes", "30.0", "GPU"),
        ("16", "SEP", "base classes", "50.0", "GPU"),
        ("16", "SEP", "base classes", "70.0", "x86_64"),
        ("16", "SEP", "all classes, as source", "90.0", "GPU"),
        ("1", "SEP", "all classes", "10.0", "GPU"),
        ("4", "SEP", "all classes", "40.0", "GPU"),
    ]


def test_what_learns_nothing_is_said_to_be_a_test(tmp_path):
    finish(tmp_path, "base", 1, 80.0, trainer="ZeroshotCLIP", record=record(5.0))
    assert UNTRAINED.format("ZeroshotCLIP") in costs(tmp_path)[0].notes
