"""The command: the papers' tables to the last character, what it prints instead of them, and what it refuses."""

import json

import pytest

from harness.report.formats import FORMATS
from tests.conftest import python
from tests.harness.runs import finish, run_dir
from tools.report import main


@pytest.fixture
def output(tmp_path):
    """SEP and CoOp on DTD and EuroSAT, base and new of two seeds."""
    for seed in (1, 2):
        for dataset, base in (("dtd", 80.0), ("eurosat", 90.0)):
            for trainer, more in (("CoOp", 0.0), ("SEP", 1.0)):
                where = {"dataset": dataset, "trainer": trainer, "record": {"seconds": 60.0, "device": "GPU"}}
                finish(tmp_path, "base", seed, base + more + seed, **where)
                finish(tmp_path, "new", seed, base - 10 + more + seed, **where)
    return tmp_path


DEFAULT = """\
Accuracy in %, mean ± standard deviation over seeds (population, as CoOp's parse_test_res.py).

## Base-to-new
H: harmonic mean of the averaged base and new accuracies.

| data set   | method   | base         | new          | H     | seeds       |
|------------|----------|--------------|--------------|-------|-------------|
| dtd        | CoOp     | 81.50 ± 0.50 | 71.50 ± 0.50 | 76.17 | 1, 2        |
| dtd        | SEP      | 82.50 ± 0.50 | 72.50 ± 0.50 | 77.18 | 1, 2        |
| eurosat    | CoOp     | 91.50 ± 0.50 | 81.50 ± 0.50 | 86.21 | 1, 2        |
| eurosat    | SEP      | 92.50 ± 0.50 | 82.50 ± 0.50 | 87.21 | 1, 2        |
| average    | CoOp     | 86.50 ± 0.50 | 76.50 ± 0.50 | 81.19 | 2 data sets |
| average    | SEP      | 87.50 ± 0.50 | 77.50 ± 0.50 | 82.20 | 2 data sets |
"""


def test_the_default_to_the_last_character(output, capsys):
    assert main([str(output)]) == 0
    assert capsys.readouterr().out == DEFAULT


@pytest.fixture
def all_protocols(output):
    """Base-to-new as in `output`; one model of Shapes tested elsewhere; 1 and 4 shots."""
    finish(output, "source", 1, 80.0)
    finish(output, "target", 1, 50.0, dataset="mini_counts", source="shapes")
    finish(output, "target", 1, 70.0, dataset="shapes_dark", source="shapes")
    finish(output, "few_shot", 1, 60.0, shots=1)
    finish(output, "few_shot", 1, 65.0, shots=4)
    return output


def test_all_tables_or_one_protocols(all_protocols, capsys):
    titles = {
        "base2new": "## Base-to-new",
        "xd": "## Cross-dataset, trained on shapes",
        "dg": "## Domain generalization, trained on shapes",
        "few_shot": "## Few-shot",
    }
    for options, shown in (
        ([], list(titles.values())),
        *((["--protocol", name], [title]) for name, title in titles.items()),
    ):
        assert main([str(all_protocols), *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("#")] == shown


def test_nothing_there_is_one_sentence(tmp_path, capsys):
    for folder, code in ((tmp_path / "no", 2), (tmp_path, 1)):
        assert main([str(folder)]) == code
        err = capsys.readouterr().err
        assert err.startswith("error: ") and str(folder) in err and len(err.splitlines()) == 1


def test_no_run_of_that_protocol_is_one_sentence(output, capsys):
    assert main([str(output), "--protocol", "dg"]) == 1
    assert capsys.readouterr().err == (
        f"error: no domain-generalization run below {output}; make one with scripts/<method>/\n"
    )


def test_warnings_do_not_enter_the_table(output, capsys):
    (run_dir(output, "new", 2, dataset="dtd") / "metrics.json").write_text("{")
    assert main([str(output)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: ") and "warning" not in captured.out


def test_the_default_needs_no_scipy(output):
    python(f"import sys; from tools.report import main; main([{str(output)!r}]); sys.exit('scipy' in sys.modules)")


def test_compare(output, capsys):
    assert main([str(output), "--compare", "SEP", "--with", "CoOp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "## Base-to-new: SEP against CoOp" in lines and any("random state 0" in line for line in lines)
    last = [cell.strip() for cell in lines[-3].strip("|").split("|")]
    assert last == [
        "average",
        "base",
        "87.50",
        "86.50",
        "+1.00",
        "+1.00",
        "+1.00",
        "0.00",
        "2/0/0",
        "2",
        "0.5",
        "2 data sets",
    ]


def test_compare_of_one_protocol_in_json(output, capsys):
    finish(output, "few_shot", 1, 80.0, dataset="dtd")
    finish(output, "few_shot", 1, 70.0, dataset="dtd", trainer="CoOp")
    assert main([str(output), "--compare", "SEP", "--with", "CoOp", "--protocol", "few_shot", "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["rows"][0]["difference"] == 10.0 and table["rows"][0]["low"] is None


@pytest.mark.parametrize(
    "options, says",
    [
        (["--compare", "SEPP", "--with", "CoOp"], "no run of SEPP below {0}; there are CoOp, SEP"),
        (["--compare", "SEP", "--with", "E2MIM"], "no run of E2MIM below {0}; there are CoOp, SEP"),
        (
            ["--compare", "SEP", "--with", "CoOp", "--protocol", "xd"],
            "SEP and CoOp have no data set in common in a table of {0}",
        ),
        (["--cost", "--protocol", "few_shot"], "no training run below {0} has its seconds on record in metrics.json"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(output, capsys, options, says):
    assert main([str(output), *options]) == 2
    assert capsys.readouterr().err == f"error: {says.format(output)}\n"


@pytest.mark.parametrize(
    "options",
    [["--compare", "SEP"], ["--with", "SEP"], ["--compare", "SEP", "--with", "SEP"], ["--cost", "--published"]],
)
def test_options_that_do_not_fit(output, capsys, options):
    with pytest.raises(SystemExit) as stop:
        main([str(output), *options])
    assert stop.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_published(output, capsys):
    assert main([str(output), "--published"]) == 0
    out = capsys.readouterr().out
    assert "## Base-to-new, beside published numbers" in out and "No published number was found of SEP." in out
    row = next(line for line in out.splitlines() if line.startswith("| dtd") and " base " in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("dtd", "CoOp", "base", "81.50 ± 0.50", "79.44", "+2.06", "promptkd", "1, 2")
    ]


def test_cost(output, capsys):
    assert main([str(output), "--cost"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("From the metrics.json") and "## Cost of training" in out and "Accuracy" not in out
    assert [cell.strip() for cell in out.splitlines()[-1].strip("|").split("|")] == [
        *("eurosat", "SEP", "60.0", "—", "—", "GPU", "2")
    ]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--cost"],
        pytest.param(["--published"], marks=pytest.mark.long),
        pytest.param(["--compare", "SEP", "--with", "CoOp"], marks=pytest.mark.long),
    ],
)
def test_every_table_in_every_format(output, capsys, options):
    for form in FORMATS:
        assert main([str(output), *options, "--format", form]) == 0
        assert "dtd" in capsys.readouterr().out
