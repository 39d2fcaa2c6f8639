import pytest

from harness.errors import UserError
from harness.report.comparison import FEW_SEEDS, ONE_DATASET, ONE_SEED, P_VALUE, compare_tables
from harness.report.runs import find_runs
from tests.harness.runs import as_dicts, finish


def compare(folder, protocol="base2new", method="SEP", other="CoOp"):
    """The only table and its rows by (data set, measure)."""
    (table,) = compare_tables(find_runs(folder)[0], protocol, method, other)
    return table, {(row["data set"], row.get("of")): row for row in as_dicts(table)}


def half(folder, part, dataset, trainer, accuracies):
    for seed, accuracy in accuracies.items():
        finish(folder, part, seed, accuracy, dataset=dataset, trainer=trainer)


@pytest.fixture
def two(tmp_path):
    """Base and new, seeds 1 and 2: on DTD SEP is 1 and 3 above CoOp, on Shapes as good as it."""
    half(tmp_path, "base", "dtd", "SEP", {1: 81.0, 2: 85.0})
    half(tmp_path, "base", "dtd", "CoOp", {1: 80.0, 2: 82.0})
    half(tmp_path, "new", "dtd", "SEP", {1: 60.0, 2: 60.0})
    half(tmp_path, "new", "dtd", "CoOp", {1: 61.0, 2: 61.0})
    for part in ("base", "new"):
        for trainer in ("SEP", "CoOp"):
            half(tmp_path, part, "shapes", trainer, {1: 70.0, 2: 72.0})
    return tmp_path


def test_differences_by_hand(two):
    table, rows = compare(two)
    assert table.title == "Base-to-new: SEP against CoOp"
    base = rows["dtd", "base"]
    assert [base[name] for name in ("SEP", "CoOp", "difference", "low", "high")] == [
        *("83.00", "81.00", "+2.00", "+1.00", "+3.00")
    ]
    assert base["seeds"] == "1, 2" and base["p"] == base["wins/ties/losses"] == ""
    assert rows["dtd", "new"]["difference"] == "-1.00"
    h = rows["dtd", "H"]  # 2 * 83 * 60 / 143 and 2 * 81 * 61 / 142
    assert (h["SEP"], h["CoOp"], h["difference"]) == ("69.65", "69.59", "+0.06")
    assert (h["low"], h["high"]) == ("-0.28", "+0.39")  # seed 1 twice: 2 * 81 * 60 / 141 - 2 * 80 * 61 / 141


def test_over_the_data_sets(two):
    table, rows = compare(two)
    row = rows["average", "base"]  # differences 2 and 0
    assert [row[name] for name in ("SEP", "CoOp", "difference", "low", "high")] == [
        *("77.00", "76.00", "+1.00", "+0.00", "+2.00")
    ]
    assert (row["wins/ties/losses"], row["n"], row["p"], row["seeds"]) == ("1/1/0", "1", "1", "2 data sets")
    assert rows["average", "new"]["wins/ties/losses"] == "0/1/1"
    assert FEW_SEEDS in table.notes and P_VALUE in table.notes
    assert "With n = 1 no p of base is below 1: it cannot reach 0.05." in table.notes


def test_six_data_sets_can_reach_0_05(tmp_path):
    for i, dataset in enumerate("caltech101 oxford_pets food101 dtd eurosat ucf101".split()):
        half(tmp_path, "base", dataset, "SEP", {1: 81.0 + i})
        half(tmp_path, "base", dataset, "CoOp", {1: 80.0})
    table, rows = compare(tmp_path)
    row = rows["average", "base"]
    assert (row["wins/ties/losses"], row["n"], row["p"], row["difference"]) == ("6/0/0", "6", "0.031", "+3.50")
    assert not any("cannot reach" in note and " base " in note for note in table.notes)
    assert ONE_SEED in table.notes and rows["dtd", "base"]["low"] == "—"


# ---- what only one of both has ---------------------------------------------------------------------------------


def test_seeds_of_one_alone_are_left_out_and_named(two):
    half(two, "base", "dtd", "SEP", {3: 10.0})
    half(two, "new", "dtd", "CoOp", {4: 10.0})
    _, rows = compare(two)
    assert (rows["dtd", "base"]["difference"], rows["dtd", "base"]["seeds"]) == ("+2.00", "1, 2 (3 left out)")
    assert (rows["dtd", "H"]["difference"], rows["dtd", "H"]["seeds"]) == ("+0.06", "1, 2 (3, 4 left out)")


def test_data_sets_of_one_alone_are_left_out_and_named(two):
    half(two, "base", "eurosat", "SEP", {1: 90.0})
    half(two, "base", "food101", "SEP", {1: 90.0})
    half(two, "base", "food101", "CoOp", {2: 90.0})  # no seed in common
    _, rows = compare(two)
    assert ("eurosat", "base") not in rows
    lonely = rows["food101", "base"]
    assert (lonely["difference"], lonely["low"], lonely["seeds"]) == ("—", "—", "— (1, 2 left out)")
    assert rows["average", "base"]["seeds"] == "2 data sets; without food101"
    assert rows["average", "base"]["difference"] == "+1.00"


def test_one_data_set_gives_no_interval_over_data_sets(tmp_path):
    half(tmp_path, "base", "dtd", "SEP", {1: 80.0, 2: 81.0})
    half(tmp_path, "base", "dtd", "CoOp", {1: 80.0, 2: 80.0})
    table, rows = compare(tmp_path)
    assert ONE_DATASET in table.notes and not {"p", "n", "wins/ties/losses"} & set(table.headers)
    assert ("average", "base") not in rows


def test_runs_that_must_not_be_averaged_are_not_compared(two):
    for seed, rate in ((1, 0.1), (2, 0.5)):
        finish(two, "base", seed, 99.0, dataset="dtd", settings={"OPTIM.LR": rate})
    table, rows = compare(two)
    assert rows["dtd", "base"]["difference"] == "—" and any("OPTIM.LR" in note for note in table.notes)


# ---- the other protocols, configs, folders -----------------------------------------------------------------------


def test_of_cross_dataset_runs_the_targets_are_compared(tmp_path):
    for trainer, more in (("SEP", 2.0), ("CoOp", 0.0)):
        where = {"trainer": trainer, "cfg": "x"}
        for seed in (1, 2):
            finish(tmp_path, "source", seed, 70.0 + 9 * more, dataset="imagenet", **where)
            for target in ("dtd", "eurosat", "imagenet_a", "imagenet_r"):
                finish(tmp_path, "target", seed, 40.0 + more, dataset=target, source="imagenet", **where)
    for protocol, targets in (("xd", ["dtd", "eurosat"]), ("dg", ["imagenet_a", "imagenet_r"])):
        table, rows = compare(tmp_path, protocol)
        assert [name for name, _ in rows] == [*targets, "average"] and "of" not in table.headers
        assert {row["difference"] for row in rows.values()} == {"+2.00"}
        assert rows["average", None]["p"] == "0.5"


def test_few_shot_is_compared_by_shots(tmp_path):
    for shots, more in ((1, 1.0), (16, 3.0)):
        for dataset in ("dtd", "eurosat"):
            finish(tmp_path, "few_shot", 1, 60.0 + more, dataset=dataset, shots=shots)
            finish(tmp_path, "few_shot", 1, 60.0, dataset=dataset, shots=shots, trainer="CoOp")
    _, rows = compare(tmp_path, "few_shot")
    assert rows["dtd", "1 shot"]["difference"] == "+1.00"
    assert rows["average", "16 shots"]["difference"] == "+3.00"


def test_of_several_configs_one_is_named(two):
    half_of = {"dataset": "dtd", "cfg": "other"}
    finish(two, "base", 1, 85.0, **half_of)
    with pytest.raises(UserError) as error:
        compare(two)
    assert str(error.value) == ("SEP has several configs in Base-to-new: give one of them, SEP/other, SEP/shapes")
    _, rows = compare(two, method="SEP/other")
    assert rows["dtd", "base"]["difference"] == "+5.00"
    _, rows = compare(two, method="SEP/other", other="SEP/shapes")
    assert rows["dtd", "base"]["difference"] == "+4.00"


def test_folders_and_shots_are_not_mixed(two):
    half(two / "again", "base", "dtd", "SEP", {1: 90.0})
    assert [row["difference"] for row in as_dicts(compare(two)[0])][0] == "+2.00"
    half(two / "again", "base", "dtd", "CoOp", {1: 80.0})
    table, _ = compare(two)
    found = [
        (row["folder"], row["difference"]) for row in as_dicts(table) if (row["data set"], row["of"]) == ("dtd", "base")
    ]
    assert found == [(".", "+2.00"), ("again", "+10.00")]


def test_a_difference_below_the_digits_shown_has_no_sign_of_its_own(tmp_path):
    half(tmp_path, "base", "dtd", "SEP", {1: 79.999})
    half(tmp_path, "base", "dtd", "CoOp", {1: 80.0})
    assert compare(tmp_path)[1]["dtd", "base"]["difference"] == "+0.00"


def test_against_all_others(tmp_path):
    datasets = "caltech101 oxford_pets food101 dtd eurosat ucf101".split()
    for i, dataset in enumerate(datasets):
        for trainer, accuracy in (("SEP", 81.0 + i), ("CoOp", 80.0), ("MaPLe", 81.0 + i - 2 * (i % 2))):
            half(tmp_path, "base", dataset, trainer, {1: accuracy})
    half(tmp_path, "base", "dtd", "KgCoOp", {2: 80.0})  # no seed of SEP's
    half(tmp_path, "base", "dtd", "CoOp", {1: 80.0})
    (table,) = compare_tables(find_runs(tmp_path)[0], "base2new", "SEP", "all")
    rows = {row["against"]: row for row in as_dicts(table) if row["of"] == "base"}
    assert table.title == "Base-to-new: SEP against all" and list(rows) == ["CoOp", "MaPLe"]
    assert rows["CoOp"]["p"] == "0.031" and rows["CoOp"]["p (Holm)"] == "0.062"  # 1/32, twice
    assert rows["MaPLe"]["p"] == rows["MaPLe"]["p (Holm)"] == "0.25" and rows["MaPLe"]["n"] == "3"
    assert rows["CoOp"]["difference"] == "+3.50" and rows["CoOp"]["wins/ties/losses"] == "6/0/0"
    # (t(0.975) + t(0.8)) of 5 degrees of freedom times the standard deviation of 1 to 6, over the root of 6
    assert rows["CoOp"]["could find"] == f"{(2.5706 + 0.9195) * 3.5**0.5 / 6**0.5:.2f}"
    assert rows["CoOp"]["data sets"] == "6"


def test_several_configs_of_others_stand_apart(two):
    for dataset in ("dtd", "shapes"):
        finish(two, "base", 1, 70.0, dataset=dataset, trainer="CoOp", cfg="other")
    (table,) = compare_tables(find_runs(two)[0], "base2new", "SEP", "all")
    assert {row["against"] for row in as_dicts(table)} == {"CoOp/other", "CoOp/shapes"}


def test_of_an_error_the_lower_one_wins(tmp_path):
    for dataset in ("dtd", "eurosat"):
        for trainer, ece in (("SEP", 3.0), ("CoOp", 5.0)):
            numbers = {**dict.fromkeys(["classwise_ece", "nll", "brier", "aurc"], 1.0), "ece": ece}
            finish(tmp_path, "new", 1, 60.0, dataset=dataset, trainer=trainer, record={"calibration": numbers})
    table, rows = compare(tmp_path, "calibration")
    assert table.title == "Calibration, new classes: SEP against CoOp"
    assert rows["average", "ECE"]["difference"] == "-2.00" and rows["average", "ECE"]["wins/ties/losses"] == "2/0/0"
    assert any(note.startswith("Of ECE, classwise ECE, NLL, Brier, AURC lower is better") for note in table.notes)
