"""Results on other images than CoOp's are marked, and runs of before a key are told from those that set it."""

from harness.report.runs import find_runs
from harness.report.tables import base2new_tables, few_shot_tables
from tests.harness.runs import finish


def notes(folder, tables=base2new_tables):
    (table,) = tables(find_runs(folder)[0])
    return table.notes


def test_other_images_are_marked(tmp_path):
    for trainer in ("SEP", "CoOp"):
        for seed in (1, 2):
            sample = {"split_file": "coop", "sample": f"another, shots 16, seed {seed}"}
            finish(tmp_path, "base", seed, 80.0, dataset="dtd", trainer=trainer, record=sample)
            finish(tmp_path, "new", seed, 70.0, dataset="dtd", trainer=trainer, record={"split_file": "coop"})
    finish(tmp_path, "base", 1, 80.0, dataset="eurosat", record={"split_file": "another", "sample": "another, x"})
    finish(
        tmp_path, "base", 1, 80.0, dataset="ucf101", record={"split_file": "coop", "sample": "coop, shots 16, seed 1"}
    )
    finish(tmp_path, "base", 1, 80.0, dataset="imagenet", record={"split_file": "built here"})
    finish(tmp_path, "base", 1, 80.0, dataset="caltech101")  # an earlier record
    assert notes(tmp_path)[1:] == [
        "dtd: CoOp, SEP had another few-shot sample than CoOp's split file gives, so this does not compare to "
        "published numbers.",
        "eurosat: SEP had another split file than CoOp's, so this does not compare to published numbers.",
    ]


def test_a_run_of_before_had_a_rate_for_each_epoch(tmp_path):
    new = {"OPTIM.LR": 0.1, "OPTIM.LR_STEP": "iteration"}
    for seed, settings in ((1, {"OPTIM.LR": 0.1}), (2, new)):
        finish(tmp_path, "few_shot", seed, 50.0, trainer="TipAdapterF", settings=settings)
    assert notes(tmp_path, few_shot_tables) == [
        "TipAdapterF on shapes: OPTIM.LR_STEP is 'epoch' in seed 1, 'iteration' in seed 2, so these are not averaged."
    ]
