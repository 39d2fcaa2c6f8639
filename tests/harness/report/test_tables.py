import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.results import Cell
from harness.report.runs import Run, find_runs
from harness.report.tables import base2new_tables, few_shot_tables, seeds_text, transfer_tables
from tests.harness.runs import as_dicts, finish, interrupt, run_dir

PAPER_XD = (
    "caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
).split()
PAPER_DG = "imagenetv2 imagenet_sketch imagenet_a imagenet_r".split()


def transfer(folder, shifted=False):
    """{(source, method): {header: text}} of the tables, and the warnings."""
    runs, warnings = find_runs(folder)
    tables = transfer_tables(runs, shifted)
    names = [table.title.rpartition(" ")[2] for table in tables]
    return {(name, row["method"]): row for name, table in zip(names, tables) for row in as_dicts(table)}, warnings


def few_shot(folder):
    (table,) = few_shot_tables(find_runs(folder)[0])
    return {(row["data set"], row["method"]): row for row in as_dicts(table)}


def test_variants_of_a_config_have_rows_of_their_own(tmp_path):
    """They are runs of their config, as the record says, in folders that name the variant."""
    for variant, accuracy in (("few", 70.0), ("many", 80.0)):
        for part in ("base", "new"):
            finish(tmp_path, part, 1, accuracy, cfg=f"shapes@{variant}", record={"given": {"config": "shapes"}})
    (table,) = base2new_tables(find_runs(tmp_path)[0])
    assert {row["config"]: row["base"] for row in as_dicts(table)} == {"shapes@few": "70.00", "shapes@many": "80.00"}


# ---- cross-dataset and domain generalization ---------------------------------------------------------------


@pytest.fixture
def xd(tmp_path):
    """SEP, trained on Shapes with seeds 1 and 2: 80, 82; tested on counts (40, 42) and patterns (60, 60)."""
    for seed, *accuracies in ((1, 80.0, 40.0, 60.0), (2, 82.0, 42.0, 60.0)):
        finish(tmp_path, "source", seed, accuracies[0])
        finish(tmp_path, "target", seed, accuracies[1], dataset="mini_counts", source="shapes")
        finish(tmp_path, "target", seed, accuracies[2], dataset="mini_patterns", source="shapes")
    return tmp_path


def test_source_targets_and_average(xd):
    (table,) = transfer_tables(find_runs(xd)[0], shifted=False)
    assert table.title == "Cross-dataset, trained on shapes"
    assert table.headers == ["method", "shapes", "mini_counts", "mini_patterns", "average", "seeds"]
    assert table.rows == [["SEP", "81.00 ± 1.00", "41.00 ± 1.00", "60.00 ± 0.00", "50.50 ± 0.50", "1, 2"]]
    assert transfer_tables(find_runs(xd)[0], shifted=True) == []


def test_columns_come_in_the_papers_order(tmp_path):
    for target in sorted(PAPER_XD + PAPER_DG + ["shapes_dark", "cars_of_mine"]):
        finish(tmp_path, "target", 1, 50.0, dataset=target, source="imagenet")
    for shifted, targets in ((False, [*PAPER_XD, "cars_of_mine", "shapes_dark"]), (True, PAPER_DG)):
        (table,) = transfer_tables(find_runs(tmp_path)[0], shifted)
        assert table.headers == ["method", "imagenet", *targets, "average", "seeds"]


def test_domain_shifts_of_shapes(xd):
    shifts = ["shapes_sketch", "shapes_texture", "shapes_clutter", "shapes_dark"]
    for target in sorted(shifts):
        finish(xd, "target", 1, 50.0, dataset=target, source="shapes")
    (table,) = transfer_tables(find_runs(xd)[0], shifted=True)
    assert table.title == "Domain generalization, trained on shapes"
    assert table.headers == ["method", "shapes", *shifts, "average", "seeds"]
    assert "shapes_dark" not in transfer_tables(find_runs(xd)[0], shifted=False)[0].headers


def test_source_alone_is_shown_once(tmp_path):
    finish(tmp_path, "source", 1, 80.0)
    runs = find_runs(tmp_path)[0]
    (table,) = transfer_tables(runs, shifted=False)
    assert table.rows == [["SEP", "80.00", "—", "1"]]
    assert transfer_tables(runs, shifted=True) == []


def test_average_needs_the_same_seeds_of_the_targets_only(xd):
    (run_dir(xd, "source", 2) / "metrics.json").unlink()
    row = transfer(xd)[0]["shapes", "SEP"]
    assert (row["average"], row["seeds"]) == ("50.50 ± 0.50", "1, 2; shapes 1 (2 missing)")


def test_two_sources_get_two_tables(xd):
    where = {"dataset": "mini_counts", "cfg": "other"}
    finish(xd, "target", 1, 20.0, source="caltech101", **where)
    rows = transfer(xd)[0]
    assert list(rows) == [("caltech101", "SEP"), ("shapes", "SEP")]
    assert rows["caltech101", "SEP"]["mini_counts"] == "20.00"
    assert "mini_patterns" not in rows["caltech101", "SEP"] and "config" not in rows["shapes", "SEP"]
    assert rows["shapes", "SEP"]["mini_counts"] == "41.00 ± 1.00"


def test_zero_shot_belongs_to_every_source(xd):
    finish(xd, "target", 1, 20.0, dataset="dtd", source="imagenet")
    finish(xd, "source", 1, 66.0, dataset="imagenet", trainer="ZeroshotCLIP")
    for target, accuracy in (("mini_counts", 30.0), ("dtd", 44.0), ("imagenetv2", 60.0), ("shapes_dark", 55.0)):
        finish(xd, "target", 1, accuracy, dataset=target, trainer="ZeroshotCLIP")
    rows = transfer(xd)[0]
    assert rows["imagenet", "ZeroshotCLIP"]["imagenet"] == "66.00"
    assert rows["imagenet", "ZeroshotCLIP"]["dtd"] == "44.00"
    assert "mini_counts" not in rows["imagenet", "ZeroshotCLIP"]  # tested for Shapes only
    assert rows["shapes", "ZeroshotCLIP"]["shapes"] == "—"
    assert rows["shapes", "ZeroshotCLIP"]["mini_counts"] == "30.00"
    shifted = transfer(xd, shifted=True)[0]  # nobody else tested these: they stand where they are shifts
    assert shifted["imagenet", "ZeroshotCLIP"]["imagenetv2"] == "60.00"
    assert shifted["shapes", "ZeroshotCLIP"]["shapes_dark"] == "55.00"


def test_zero_shot_without_any_source(tmp_path):
    for target in ("dtd", "imagenet_r"):
        finish(tmp_path, "target", 1, 44.0, dataset=target, trainer="ZeroshotCLIP")
    for shifted, target in ((False, "dtd"), (True, "imagenet_r")):
        (table,) = transfer_tables(find_runs(tmp_path)[0], shifted)
        assert "trained" not in table.title
        assert table.headers == ["method", "source", target, "average", "seeds"]
        assert table.rows[0][:4] == ["ZeroshotCLIP", "—", "44.00", "44.00"]


def test_configs_are_named_and_never_share_a_row(xd):
    finish(xd, "source", 1, 75.0, trainer="CoOp")
    finish(xd, "target", 1, 30.0, dataset="dtd", cfg="ctx16", source="shapes")  # which the other one lacks
    (table,) = transfer_tables(find_runs(xd)[0], shifted=False)
    assert [(r["method"], r["config"], r["shapes"], r["dtd"]) for r in as_dicts(table)] == [
        ("CoOp", "", "75.00", "—"),
        ("SEP", "ctx16", "—", "30.00"),
        ("SEP", "shapes", "81.00 ± 1.00", "—"),
    ]


def test_test_on_the_source_itself_is_no_target(xd):
    finish(xd, "target", 1, 99.0, source="shapes")
    assert transfer(xd)[0]["shapes", "SEP"]["shapes"] == "81.00 ± 1.00"


def test_model_of_unknown_origin_is_named_and_missing(xd):
    path = run_dir(xd, "target", 2, dataset="mini_counts") / "metrics.json"
    path.write_text(json.dumps({"accuracy": 99.0, "model_dir": "somewhere/else"}))
    rows, warnings = transfer(xd)
    assert len(warnings) == 1 and str(path) in warnings[0] and "somewhere/else" in warnings[0]
    assert rows["shapes", "SEP"]["mini_counts"] == "40.00"


# ---- few-shot ----------------------------------------------------------------------------------------------


@pytest.fixture
def shots(tmp_path):
    """CoOp on Shapes, seeds 1 and 2: 60, 62 with one shot, 70, 74 with sixteen."""
    for seed, one, sixteen in ((1, 60.0, 70.0), (2, 62.0, 74.0)):
        finish(tmp_path, "few_shot", seed, one, trainer="CoOp", shots=1)
        finish(tmp_path, "few_shot", seed, sixteen, trainer="CoOp", shots=16)
    return tmp_path


def test_a_column_per_number_of_shots(shots):
    finish(shots, "few_shot", 1, 65.0, trainer="CoOp", shots=4)
    finish(shots, "few_shot", 2, 65.0, trainer="CoOp", shots=4)
    (table,) = few_shot_tables(find_runs(shots)[0])
    assert table.headers == ["data set", "method", "1 shot", "4 shots", "16 shots", "seeds"]
    assert table.rows == [["shapes", "CoOp", "61.00 ± 1.00", "65.00 ± 0.00", "72.00 ± 2.00", "1, 2"]]


def test_missing_shots_and_seeds_are_visible(shots):
    finish(shots, "few_shot", 1, 50.0, shots=1)
    interrupt(shots, "few_shot", 3, trainer="CoOp", shots=16)
    rows = few_shot(shots)
    assert (rows["shapes", "SEP"]["16 shots"], rows["shapes", "CoOp"]["16 shots"]) == ("—", "72.00 ± 2.00")
    assert rows["shapes", "SEP"]["seeds"] == "1 shot 1; 16 shots — (1 missing)"
    assert rows["shapes", "CoOp"]["seeds"] == "1, 2 (3 missing)"


def test_average_over_data_sets(shots):
    for seed in (1, 2):
        finish(shots, "few_shot", seed, 80.0 + seed, dataset="dtd", trainer="CoOp", shots=1)
    row = few_shot(shots)["average", "CoOp"]
    assert (row["1 shot"], row["16 shots"]) == ("71.25 ± 0.75", "—")  # of (60 + 81) / 2 and (62 + 82) / 2
    assert row["seeds"] == "2 data sets; no 16 shots: dtd"
    assert list(few_shot(shots)) == [("dtd", "CoOp"), ("shapes", "CoOp"), ("average", "CoOp")]


def test_zero_shot_stands_under_every_number_of_shots(shots):
    finish(shots, "few_shot", 1, 55.0, trainer="ZeroshotCLIP", shots=16)
    finish(shots, "few_shot", 2, 55.0, trainer="ZeroshotCLIP", shots=1)
    (table,) = few_shot_tables(find_runs(shots)[0])
    assert table.rows[0] == ["shapes", "ZeroshotCLIP", "55.00 ± 0.00", "55.00 ± 0.00", "1, 2"]
    assert "ZeroshotCLIP" in table.notes[0]


def test_zero_shot_results_that_contradict_stay_where_they_are(shots):
    finish(shots, "few_shot", 1, 55.0, trainer="ZeroshotCLIP", shots=1)
    finish(shots, "few_shot", 1, 56.0, trainer="ZeroshotCLIP", shots=16)
    row = few_shot(shots)["shapes", "ZeroshotCLIP"]
    assert (row["1 shot"], row["16 shots"]) == ("55.00", "56.00")


def test_a_config_per_number_of_shots_is_one_row(shots):
    finish(shots, "few_shot", 1, 65.0, trainer="CoOp", shots=4, cfg="ep100")
    assert few_shot(shots)["shapes", "CoOp"]["4 shots"] == "65.00"
    finish(shots, "few_shot", 1, 66.0, trainer="CoOp", shots=1, cfg="ep100")
    (table,) = few_shot_tables(find_runs(shots)[0])
    assert [(r["config"], r["1 shot"]) for r in as_dicts(table)] == [("ep100", "66.00"), ("shapes", "61.00 ± 1.00")]


def test_runs_outside_the_layout(tmp_path):
    metrics = {"trainer": "SEP", "dataset": "Shapes", "shots": 16, "seed": 1, "subsample_classes": "all"}
    for name, accuracy, more in (
        ("a", 80.0, {"model_dir": ""}),  # trained and tested on all classes
        ("b", 60.0, {"dataset": "DTD", "model_dir": "my/xd/train/shapes/shots_16/SEP/x/seed1"}),
        ("c", 70.0, {"dataset": "DTD", "model_dir": "my/models/a"}),
        ("d", 75.0, {"dataset": "DTD", "shots": -1}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({**metrics, "accuracy": accuracy, **more}))
    (table,) = few_shot_tables(find_runs(tmp_path)[0])
    assert table.rows == [["Shapes", "SEP", "80.00", "1"]]
    rows, warnings = transfer(tmp_path)
    assert not warnings and list(rows) == [("shapes", "SEP")]
    assert rows["shapes", "SEP"]["DTD"] == "60.00"


# ---- properties --------------------------------------------------------------------------------------------

accuracies = st.dictionaries(st.integers(1, 5), st.none() | st.floats(0, 100), max_size=5)
TARGETS = ["caltech101", "dtd", "imagenet_a"]


@given(st.lists(accuracies, min_size=4, max_size=4))
def test_no_number_is_lost_and_no_gap_goes_unmentioned(parts):
    """Of the source and three targets: every result is in a table, every missing one in its remark."""
    parts = dict(zip(["imagenet", *TARGETS], parts))
    found = {d: {seed: v for seed, v in by_seed.items() if v is not None} for d, by_seed in parts.items()}
    runs = []
    for dataset, by_seed in parts.items():
        part = "source" if dataset == "imagenet" else "target"
        for seed, value in by_seed.items():
            source = "imagenet" if part == "source" or value is not None else ""
            runs.append(Run("", "xd", part, dataset, "16", "SEP", "", seed, source, value))

    shown = {}
    for table in transfer_tables(runs, shifted=False) + transfer_tables(runs, shifted=True):
        (row,) = as_dicts(table)
        shown.update(row)
        columns = table.headers[1:-2]
        means = [statistics.fmean(found[d].values()) if found[d] else None for d in columns[1:]]
        if not means or None in means or len({frozenset(found[d]) for d in columns[1:]}) > 1:
            assert row["average"] == "—"
        else:
            mean, *spread = map(float, row["average"].split(" ± "))
            assert mean == pytest.approx(statistics.fmean(means), abs=0.00501)
            by_seed = [statistics.fmean(found[d][seed] for d in columns[1:]) for seed in found[columns[1]]]
            assert (spread or [0]) == pytest.approx([statistics.pstdev(by_seed)], abs=0.00501)
        tried = [parts.get(d, {}) for d in columns]  # "source" if no source is known
        lacking = set().union(*tried) - set.intersection(*(set(found.get(d, ())) for d in columns))
        assert not lacking or "missing" in row["seeds"]
    for dataset, by_seed in found.items():
        if by_seed:
            mean = statistics.fmean(by_seed.values())
            assert float(shown[dataset].split(" ± ")[0]) == pytest.approx(mean, abs=0.00501)


cells = st.dictionaries(
    st.sampled_from("abcde"),
    st.builds(
        lambda by_seed, missing: Cell(by_seed, sorted(missing - set(by_seed))),
        st.dictionaries(st.integers(1, 4), st.floats(0, 100)),
        st.sets(st.integers(1, 4)),
    ),
    min_size=1,
)


@given(cells)
def test_seeds_text_tells_cells_apart(cells):
    text = seeds_text(cells)
    alike = {(tuple(cell.by_seed), tuple(cell.missing)) for cell in cells.values()}
    assert text.count(";") + 1 == len(alike)
    assert ("missing" in text) == any(cell.missing for cell in cells.values())


# ---- settings ----------------------------------------------------------------------------------------------

LR, SHOT = {"OPTIM.LR": 0.1}, {"DATASET.NUM_SHOTS": 16}


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path):
    for seed, settings in ((1, {"OPTIM.LR": 0.1}), (2, {"OPTIM.LR": 0.1}), (3, {"OPTIM.LR": 0.5})):
        finish(tmp_path, "base", seed, 80.0 + seed, settings=settings)
        finish(tmp_path, "new", seed, 60.0)
    (table,) = base2new_tables(find_runs(tmp_path)[0])
    (row,) = as_dicts(table)
    assert (row["base"], row["H"]) == ("—", "—")
    (note,) = [note for note in table.notes if "SEP" in note]
    assert note == (
        "SEP on shapes: OPTIM.LR is 0.1 in seed 1, 0.1 in seed 2, 0.5 in seed 3, so these are not averaged."
    )


def test_what_was_on_the_disk_may_not_differ_either(tmp_path):
    weights = {1: {"backbone_weights": "a"}, 2: {}, 3: {"backbone_weights": "a"}}
    for seed, record in weights.items():
        finish(tmp_path, "base", seed, 80.0, settings=LR, record={"test_pictures": "x", **record})
    (table,) = base2new_tables(find_runs(tmp_path)[0])
    assert as_dicts(table)[0]["base"] == "80.00 ± 0.00"
    sentence = "SEP on shapes: some runs are of an earlier version, of whose backbone a part alone was compared."
    assert table.notes.count(sentence) == 1
    for key in ("backbone_weights", "test_pictures"):
        finish(tmp_path, "base", 2, 80.0, settings=LR, record={"test_pictures": "x", **weights[1], key: "b"})
        (table,) = base2new_tables(find_runs(tmp_path)[0])
        assert as_dicts(table)[0]["base"] == "—" and "so these are not averaged" in " ".join(table.notes)


def test_the_seed_and_unknown_settings_may_differ(tmp_path):
    for seed, settings in ((1, LR), (2, LR), (3, None)):
        finish(tmp_path, "base", seed, 80.0, settings=settings)
    (table,) = base2new_tables(find_runs(tmp_path)[0])
    assert as_dicts(table)[0]["base"] == "80.00 ± 0.00" and len(table.notes) == 1


TEXTS = "TRAINER.HICROPL.SENTENCES_CHECKSUM"


def test_a_test_under_other_settings_than_its_training_does_not_count(xd):
    for part, dataset, settings in (
        ("source", "shapes", {"OPTIM.LR": 0.1, "DATASET.NAME": "Shapes", TEXTS: "a"}),
        ("target", "mini_counts", {"OPTIM.LR": 0.5, "DATASET.NAME": "MiniCounts", TEXTS: "a"}),
        # another file, of its classes
        ("target", "mini_patterns", {"OPTIM.LR": 0.1, "DATASET.NAME": "MiniPatterns", TEXTS: "b"}),
    ):
        source = "" if part == "source" else "shapes"
        finish(xd, part, 1, 50.0, dataset=dataset, source=source, settings=settings)
    (table,) = transfer_tables(find_runs(xd)[0], shifted=False)
    (row,) = as_dicts(table)
    assert row["mini_counts"] == "42.00" and row["mini_patterns"] == "55.00 ± 5.00" and row["average"] == "—"
    assert table.notes[1] == (
        "SEP on mini_counts, seed 1: OPTIM.LR is 0.5 in the test, but 0.1 in the training, so the test does not count."
    )


def test_few_shot_runs_of_other_pictures_are_not_averaged(tmp_path):
    for seed, images in ((1, "a"), (2, "b")):
        path = finish(tmp_path, "few_shot", seed, 80.0, settings=SHOT)
        path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"test": images}}))
    (table,) = few_shot_tables(find_runs(tmp_path)[0])
    assert as_dicts(table)[0]["16 shots"] == "—" and "the test images is 'a' in seed 1" in table.notes[0]
