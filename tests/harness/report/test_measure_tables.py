"""The tables of joint tests and of calibration, and who of base-to-new is told the half."""

import pytest

from harness.report import metrics
from harness.report.broken_classes import broken_tables
from harness.report.comparison import compare_tables
from harness.report.measure import with_numbers
from harness.report.measure_tables import calibration_tables, class_tables, joint_tables
from harness.report.measured import CALIBRATION, JOINT
from harness.report.page.view import reliability_bins
from harness.report.predictions import read_logits
from harness.report.runs import find_runs
from harness.report.tables import base2new_tables
from tests.conftest import exits
from tests.harness.report.pages import ACCURACY, LABELS, PREDICTED, write_predictions
from tests.harness.runs import as_dicts, finish
from tools.report import main


def numbers(columns, start):
    return {names[0]: start + i for i, names in enumerate(columns.values())}


def joint(output, seed, base, new, accuracy=50.0, **where):
    said = {**numbers(JOINT, 0.0), "base": base, "new": new, "accuracy": accuracy}
    record = {"joint": said, "calibration": numbers(CALIBRATION, 10.0)}
    return finish(output, "joint", seed, accuracy, record=record, **where)


def test_the_joint_table(tmp_path):
    for seed, base, new in ((1, 60.0, 30.0), (2, 80.0, 50.0)):
        joint(tmp_path, seed, base, new)
        joint(tmp_path, seed, base, new, dataset="dtd")
    (table,) = joint_tables(find_runs(tmp_path)[0])
    first, _, average = rows = as_dicts(table)
    assert [row["data set"] for row in rows] == ["dtd", "shapes", "average"]
    assert (first["base"], first["new"]) == ("70.00 ± 10.00", "40.00 ± 10.00")
    assert first["H"] == average["H"] == "50.91"  # of the averages, as in the table of the halves
    assert first["all"] == "50.00 ± 0.00" and first["seeds"] == "1, 2" and average["seeds"] == "2 of 2 data sets"
    assert list(first)[2:-1] == list(JOINT)


def test_a_test_of_before_has_no_such_numbers(tmp_path):
    joint(tmp_path, 1, 60.0, 30.0)
    finish(tmp_path, "joint", 2, 50.0)
    (table,) = joint_tables(find_runs(tmp_path)[0])
    (row,) = as_dicts(table)
    assert row["base"] == "60.00" and row["seeds"] == "1 (2 missing)"
    assert any(note.startswith("1 of these tests have no such numbers") for note in table.notes)


def test_an_average_needs_all_data_sets(tmp_path):
    joint(tmp_path, 1, 60.0, 30.0)
    joint(tmp_path, 1, 60.0, 30.0, dataset="dtd", trainer="CoOp")
    (table,) = joint_tables(find_runs(tmp_path)[0])
    averages = [row for row in as_dicts(table) if row["data set"] == "average"]
    assert len(averages) == 2 and all(row["H"] == row["base"] == "—" for row in averages)


def test_calibration_of_each_kind_of_test(tmp_path, capsys):
    for part in ("base", "new", "target"):
        record = {"calibration": numbers(CALIBRATION, 1.0), "by_class": {"macro_recall": 40.0, "worst_tenth": 0.0}}
        finish(tmp_path, part, 1, 50.0, record=record, source="imagenet" if part == "target" else "")
    tables = calibration_tables(find_runs(tmp_path)[0])
    assert [table.title.partition(", ")[2] for table in tables] == [
        "base classes",
        "new classes",
        "cross-dataset, targets",
    ]
    assert as_dicts(tables[0])[0]["ECE"] == "1.00"
    assert main([str(tmp_path), "--calibration"]) == 0 and "Calibration, base classes" in capsys.readouterr().out
    assert as_dicts(class_tables(find_runs(tmp_path)[0])[1])[0]["worst tenth"] == "0.00"
    assert main([str(tmp_path), "--classes"]) == 0 and "By class, new classes" in capsys.readouterr().out
    assert main([str(tmp_path), "--protocol", "joint"]) == 1
    assert "no joint base-to-new run below" in capsys.readouterr().err


def test_joint_tests_are_compared_and_nobody_else_is_by_that(tmp_path):
    for seed in (1, 2):
        joint(tmp_path, seed, 60.0, 30.0)
        joint(tmp_path, seed, 50.0, 30.0, trainer="CoOp")
        for trainer in ("SEP", "CoOp"):
            finish(tmp_path, "source", seed, 60.0, trainer=trainer)
            finish(tmp_path, "target", seed, 60.0, trainer=trainer, source="shapes", dataset="dtd")
    (table,) = compare_tables(find_runs(tmp_path)[0], "joint", "SEP", "CoOp")
    first, *_ = rows = as_dicts(table)
    assert table.title == "Joint base-to-new: SEP against CoOp" and [row["of"] for row in rows] == list(JOINT)
    assert (first["SEP"], first["CoOp"], first["difference"]) == ("60.00", "50.00", "+10.00")
    assert main([str(tmp_path), "--published", "--protocol", "joint"]) == 0


def test_the_joint_test_is_no_half(tmp_path):
    for part in ("base", "new"):
        finish(tmp_path, part, 1, 70.0, trainer="MMRL")
    joint(tmp_path, 1, 60.0, 30.0, trainer="MMRL")
    (table,) = base2new_tables(find_runs(tmp_path)[0])
    (row,) = as_dicts(table)
    assert row["H"] == "70.00" and row["method"] == "MMRL (told the half)"
    assert as_dicts(joint_tables(find_runs(tmp_path)[0])[0])[0]["method"] == "MMRL"


def test_a_joint_test_that_contradicts_itself(tmp_path):
    joint(tmp_path, 1, 60.0, 30.0)
    path = finish(tmp_path, "joint", 2, 51.0, record={"joint": {"accuracy": 50.0}})
    runs, (warning,) = find_runs(tmp_path)
    assert f"{path} contradicts itself: accuracy is 51.0, but 50.0 in the joint test" in warning


def test_numbers_come_from_predictions_where_the_record_lacks_them(tmp_path, capsys):
    for seed in (1, 2):
        folder = finish(tmp_path, "new", seed, ACCURACY).parent
        write_predictions(folder)
    finish(tmp_path, "new", 3, 50.0, record={"calibration": {**numbers(CALIBRATION, 1.0), "bins": 15}})
    runs = find_runs(tmp_path)[0]
    logits, labels = read_logits(folder / "predictions.npz", ACCURACY)
    for bins, expected in ((None, 15), (10, 10)):
        (table,) = calibration_tables(runs, bins)
        ece = [metrics.calibration(logits, labels, expected)["ece"]] * 2 + [1.0] * (bins is None)
        assert as_dicts(table)[0]["ECE"].value == pytest.approx(sum(ece) / len(ece))
        assert any("1 of these tests have no such numbers" in note for note in table.notes) == (bins == 10)
    assert as_dicts(class_tables(runs)[0])[0]["macro recall"].value == pytest.approx(ACCURACY)
    (folder / "predictions.npz").write_bytes(b"damaged")
    assert with_numbers(runs[1], 7).calibration == {}
    lines = reliability_bins(runs)["new classes"]["SEP"]
    assert sum(count for _, _, count in lines) == len(labels) * 2  # seed 2's were read before
    figure = tmp_path / "new/reliability.png"
    assert main([str(tmp_path), "--calibration", "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG") and str(figure) in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--bins", "10"], "--bins and --figure go with --calibration"),
        (["--calibration", "--bins", "0"], "--bins is a whole number from 1 to 1000, not 0"),
    ],
)
def test_words_that_do_not_fit(tmp_path, words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), *words])
    assert said in capsys.readouterr().err


def test_a_figure_of_no_kind(tmp_path, capsys):
    finish(tmp_path, "new", 1, 50.0, record={"calibration": {**numbers(CALIBRATION, 1.0), "bins": 15}})
    assert exits(main, [str(tmp_path), "--calibration", "--figure", str(tmp_path / "a.doc")]) == 1
    assert "name it .svg, .png or .pdf" in capsys.readouterr().err
    assert exits(main, [str(tmp_path), "--calibration", "--figure", str(tmp_path / "a.pdf")]) == 1
    assert "no test has its bins of confidence on record" in capsys.readouterr().err


def test_what_tuning_broke(tmp_path, capsys):
    """Zero-shot CLIP takes one cat for a dog, two owls for dogs, one for a cat; SEP three cats, two owls."""
    finish(tmp_path, "new", 3, ACCURACY, trainer="ZeroshotCLIP")
    for seed in (1, 2):
        write_predictions(finish(tmp_path, "new", seed, ACCURACY, trainer="ZeroshotCLIP").parent)
    tuned = PREDICTED.copy()
    tuned[[1, 2]], tuned[[8, 9, 10, 11]] = 1, (2, 2, 1, 1)
    accuracy = 100 * float((tuned == LABELS).mean())
    for seed in (1, 3):
        write_predictions(finish(tmp_path, "new", seed, accuracy).parent, tuned)
    write_predictions(finish(tmp_path, "new", 1, ACCURACY, trainer="CoOp").parent)
    (finish(tmp_path, "new", 2, ACCURACY, trainer="CoOp").parent / "predictions.npz").write_bytes(b"damaged")
    (table,) = broken_tables(find_runs(tmp_path)[0])
    rows = {row["method"]: row for row in as_dicts(table)}
    assert table.title == "What tuning broke, new classes" and list(rows) == ["CoOp", "SEP"]
    assert [rows["SEP"][name] for name in ("classes", "better", "worse", "seeds")] == ["3", "0", "1", "1"]
    assert rows["SEP"]["largest loss"] == "cat: 75.0 to 25.0 %"
    assert [rows["CoOp"][name] for name in ("better", "worse", "largest loss")] == ["0", "0", "none"]
    assert main([str(tmp_path), "--classes"]) == 0 and "largest loss" in capsys.readouterr().out


def test_remedies_are_rows_of_their_own(tmp_path, monkeypatch):
    write_predictions(tmp_path)  # which are nobody's, in the folder that the report is called from
    monkeypatch.chdir(tmp_path)
    record = {"calibration": {**numbers(CALIBRATION, 9.0), "bins": 15}, "reliability": [[50.0, 40.0, 2]]}
    record["remedied"] = {"dac": {**numbers(CALIBRATION, 2.0), "bins": 15}}
    finish(tmp_path, "new", 1, ACCURACY, record=record)
    rows = as_dicts(calibration_tables(find_runs(tmp_path)[0])[0])
    assert {row["config"]: row["ECE"] for row in rows} == {"shapes": "9.00", "shapes + dac": "2.00"}
    assert [row["ECE"] for row in as_dicts(calibration_tables(find_runs(tmp_path)[0], 10)[0])] == ["—", "—"]
