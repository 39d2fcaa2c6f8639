"""Of a method that is trained on each target: its row in the tables across data sets, and what it costs."""

from harness.report.cost import cost_tables
from harness.report.runs import find_runs
from harness.report.tables import TRANSDUCTIVE, transfer_tables
from tests.harness.runs import as_dicts, finish, run_dir

TARGETS = ("dtd", "eurosat")


def leave(folder, teachers_part="source", seeds=(1, 2)):
    for seed in seeds:
        finish(folder, "source", seed, 70.0, dataset="imagenet", trainer="SEP")
        taught_by = str(run_dir(folder, teachers_part, seed, dataset="imagenet", trainer="PromptSRC"))
        for target in TARGETS:
            finish(folder, "target", seed, 50.0, dataset=target, trainer="SEP", source="imagenet")
            record = {"teacher": taught_by, "seconds": 9.0}
            finish(folder, "target", seed, 60.0 + seed, dataset=target, trainer="PromptKD", record=record)


def test_it_stands_beside_its_source_and_is_marked(tmp_path):
    leave(tmp_path)
    runs, warnings = find_runs(tmp_path)
    assert warnings == [] and {run.source for run in runs if run.trainer == "PromptKD"} == {"imagenet"}
    (table,) = transfer_tables(runs, shifted=False)
    sep, student = as_dicts(table)
    assert student["method"] == "PromptKD" + TRANSDUCTIVE and student["imagenet"] == "—"
    assert [student[target] for target in (*TARGETS, "average")] == ["61.50 ± 0.50"] * 3
    assert student["seeds"] == sep["seeds"] == "1, 2"


def test_its_training_has_a_cost(tmp_path):
    leave(tmp_path, seeds=[1])
    (table,) = cost_tables(find_runs(tmp_path)[0])
    rows = as_dicts(table)
    assert [(row["data set"], row["seconds"]) for row in rows] == [(target, "9.0") for target in TARGETS]


def test_a_teacher_of_no_source_is_named(tmp_path):
    leave(tmp_path, teachers_part="base", seeds=[1])
    warnings = find_runs(tmp_path)[1]
    assert len(warnings) == len(TARGETS) and all("its source is not known" in sentence for sentence in warnings)
