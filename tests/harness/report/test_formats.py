import csv
import io
import json

import pytest

from harness.report import tables
from harness.report.comparison import compare_tables
from harness.report.formats import render
from harness.report.runs import find_runs
from harness.report.tables import TRANSDUCTIVE, base2new_tables, few_shot_tables, transfer_tables
from tests.harness.runs import finish


def accuracies(folder, dataset="dtd", **methods):
    """Base accuracies of methods on a data set, a seed each."""
    for trainer, values in methods.items():
        for seed, value in enumerate(values, start=1):
            finish(folder, "base", seed, value, dataset=dataset, trainer=trainer)


def cells(folder, form="markdown", column=-4):
    """{(data set, method): text} of the base column."""
    text = render(base2new_tables(find_runs(folder)[0]), "note", form)
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], row[1]): row[column] for row in rows}


def test_best_is_bold_and_second_underlined_within_a_data_set(tmp_path):
    accuracies(tmp_path, CoOp=[70.0], SEP=[90.0], MaPLe=[80.0])
    accuracies(tmp_path, "eurosat", CoOp=[99.0], SEP=[98.0])
    found = cells(tmp_path)
    assert [found["dtd", name] for name in ("CoOp", "MaPLe", "SEP")] == ["70.00", "<ins>80.00</ins>", "**90.00**"]
    assert [found["eurosat", name] for name in ("CoOp", "SEP")] == ["**99.00**", "<ins>98.00</ins>"]
    assert found["average", "SEP"] == "**94.00**" and found["average", "CoOp"] == "<ins>84.50</ins>"
    assert found["average", "MaPLe"] == "—"


def test_what_shows_the_same_digits_shares_a_mark(tmp_path):
    accuracies(tmp_path, CoOp=[80.001], SEP=[80.004], MaPLe=[79.0], KgCoOp=[78.0])
    found = cells(tmp_path)
    assert found["dtd", "CoOp"] == found["dtd", "SEP"] == "**80.00**"
    assert found["dtd", "MaPLe"] == "<ins>79.00</ins>" and found["dtd", "KgCoOp"] == "78.00"


@pytest.fixture
def transductive(monkeypatch):
    """MaPLe, as if it saw the test images."""
    rows = tuple(row._replace(transductive=row.trainer == "MaPLe") for row in tables.METHODS)
    monkeypatch.setattr(tables, "METHODS", rows)


def test_transductive_methods_are_marked_and_do_not_compete(tmp_path, transductive):
    accuracies(tmp_path, CoOp=[70.0], SEP=[80.0], MaPLe=[90.0])
    found = cells(tmp_path)
    assert found["dtd", "MaPLe (transductive)"] == "90.00"
    assert (found["dtd", "SEP"], found["dtd", "CoOp"]) == ("**80.00**", "<ins>70.00</ins>")


def test_they_are_marked_in_every_table(tmp_path, transductive):
    for trainer in ("MaPLe", "CoOp"):
        for dataset in ("dtd", "eurosat"):
            finish(tmp_path, "base", 1, 80.0, dataset=dataset, trainer=trainer)
            finish(tmp_path, "few_shot", 1, 80.0, dataset=dataset, trainer=trainer)
            finish(tmp_path, "target", 1, 80.0, dataset=dataset, source="imagenet", trainer=trainer)
    runs = find_runs(tmp_path)[0]
    for made in (base2new_tables(runs), transfer_tables(runs, False), few_shot_tables(runs)):
        (table,) = made
        names = {row[table.headers.index("method")] for row in table.rows}
        assert names == {"CoOp", "MaPLe" + TRANSDUCTIVE}
    for protocol in ("base2new", "xd", "few_shot"):
        (table,) = compare_tables(runs, protocol, "MaPLe", "CoOp")
        assert "MaPLe" + TRANSDUCTIVE in table.headers and "MaPLe" + TRANSDUCTIVE + " against" in table.title
    finish(tmp_path, "base", 1, 80.0, dataset="dtd", trainer="MaPLe", cfg="other")
    (table,) = compare_tables(find_runs(tmp_path)[0], "base2new", "MaPLe/other", "CoOp")
    assert "MaPLe/other" + TRANSDUCTIVE in table.headers and table.title.endswith(TRANSDUCTIVE + " against CoOp")


def test_latex_has_booktabs_commands_and_escaped_names(tmp_path):
    for trainer, accuracy in (("CoOp", 70.0), ("SEP", 80.0)):
        finish(tmp_path, "target", 1, accuracy, dataset="imagenet_a", source="imagenet", trainer=trainer)
    text = render(transfer_tables(find_runs(tmp_path)[0], True), "in %", "latex")
    assert text.startswith("% in %\n\n% Domain generalization") and r"\toprule" in text and r"imagenet\_a" in text
    assert r"\textbf{80.00}" in text and r"\underline{70.00}" in text
    assert text.count("{") == text.count("}") and not any(mark in text for mark in "\x01\x02\x03")


def test_tabulates_own_formats_have_no_marks(tmp_path):
    accuracies(tmp_path, CoOp=[70.0], SEP=[80.0])
    found = base2new_tables(find_runs(tmp_path)[0])
    for form in ("github", "latex_booktabs", "latex_raw", "html"):
        text = render(found, "note", form)
        assert not any(mark in text for mark in ("**", "textbf", "<ins>"))


def test_json_has_unrounded_numbers_spread_and_seeds(tmp_path):
    accuracies(tmp_path, CoOp=[70.123, 70.125], SEP=[80.125])
    found = json.loads(render(base2new_tables(find_runs(tmp_path)[0]), "note", "json"))
    assert found["note"] == "note" and found["tables"][0]["title"] == "Base-to-new"
    coop, sep = found["tables"][0]["rows"]
    assert coop["data set"] == "dtd" and coop["method"] == "CoOp" and coop["new"] is None
    assert coop["base"]["mean"] == pytest.approx(70.124) and coop["base"]["std"] == pytest.approx(0.001)
    assert coop["base"]["seeds"] == [1, 2]
    assert sep["base"] == {"mean": 80.125, "std": None, "seeds": [1]}


def test_csv_has_a_line_for_each_number(tmp_path):
    accuracies(tmp_path, CoOp=[70.0, 72.0])
    accuracies(tmp_path, "eurosat", CoOp=[90.0])
    lines = list(csv.DictReader(io.StringIO(render(base2new_tables(find_runs(tmp_path)[0]), "note", "csv"))))
    base = {line["data set"]: line for line in lines if line["column"] == "base"}
    assert (base["dtd"]["value"], base["dtd"]["std"], base["dtd"]["seeds"]) == ("71.0", "1.0", "1 2")
    assert (base["eurosat"]["value"], base["eurosat"]["std"]) == ("90.0", "")
    assert base["average"]["value"] == "80.5" and base["average"]["method"] == "CoOp"
    assert {line["value"] for line in lines if line["column"] == "new"} == {""}
