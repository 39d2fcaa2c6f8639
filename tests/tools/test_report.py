import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabulate import tabulate_formats

from harness.report.results import harmonic_mean
from harness.report.runs import Run, find_runs
from harness.report.tables import base2new_tables
from tests.harness.runs import as_dicts, finish, run_dir
from tools.report import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def output(tmp_path):
    """SEP on Shapes, three seeds: base 80, 82, 84, new 60, 60, 63."""
    for seed, base, new in ((1, 80.0, 60.0), (2, 82.0, 60.0), (3, 84.0, 63.0)):
        finish(tmp_path, "base", seed, base)
        finish(tmp_path, "new", seed, new)
    return tmp_path


def table(folder):
    """{(data set, method): {header: text}} of the report; extra columns are in the values."""
    runs, warnings = find_runs(folder)
    (found,) = base2new_tables(runs)
    return {(r["data set"], r["method"]): r for r in as_dicts(found)}, warnings


def row(folder, dataset="shapes", method="SEP"):
    return table(folder)[0][dataset, method]


def test_mean_spread_and_harmonic_mean_of_the_means(output):
    found = row(output)
    assert found["base"] == "82.00 ± 1.63"  # population: sqrt(8 / 3)
    assert found["new"] == "61.00 ± 1.41"
    assert found["H"] == "69.96"  # 2 * 82 * 61 / 143
    assert found["seeds"] == "1, 2, 3"


def test_h_is_not_the_mean_of_each_seeds_h(tmp_path):
    for seed, base, new in ((1, 90.0, 30.0), (2, 30.0, 90.0)):
        finish(tmp_path, "base", seed, base)
        finish(tmp_path, "new", seed, new)
    assert row(tmp_path)["H"] == "60.00"  # each seed's is 45


def test_one_seed_has_no_spread(tmp_path):
    finish(tmp_path, "base", 1, 80.0)
    finish(tmp_path, "new", 1, 60.0)
    assert row(tmp_path)["base"] == "80.00"


def test_missing_half(tmp_path):
    finish(tmp_path, "base", 1, 80.0)
    found = row(tmp_path)
    assert (found["base"], found["new"], found["H"]) == ("80.00", "—", "—")
    assert found["seeds"] == "base 1; new — (1 missing)"


def test_seed_missing_in_one_half_is_visible_and_leaves_no_h(output):
    (run_dir(output, "new", 3) / "metrics.json").unlink()
    found = row(output)
    assert (found["base"], found["new"], found["H"]) == ("82.00 ± 1.63", "60.00 ± 0.00", "—")
    assert found["seeds"] == "base 1, 2, 3; new 1, 2 (3 missing)"


def test_seed_missing_in_both_halves_is_visible(output):
    for half in ("base", "new"):  # no folder at all: the hole between 1 and 3 tells
        path = run_dir(output, half, 2)
        (path / "metrics.json").unlink()
        path.rmdir()
    found = row(output)
    assert found["seeds"] == "1, 3 (2 missing)"
    assert found["base"] == "82.00 ± 2.00" and found["H"] != "—"


def test_interrupted_seed_is_visible(output):
    run_dir(output, "base", 4).mkdir()
    (run_dir(output, "base", 4) / "log.txt").write_text("=> result\n* accuracy: 99.0%\n")  # still training
    assert row(output)["seeds"] == "1, 2, 3 (4 missing)"
    assert row(output)["base"] == "82.00 ± 1.63"


def test_large_seeds_have_no_holes(tmp_path):
    for seed in (1, 1234):
        finish(tmp_path, "base", seed, 80.0)
        finish(tmp_path, "new", seed, 60.0)
    assert row(tmp_path)["seeds"] == "1, 1234"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"accuracy": "high"}',
        '{"accuracy": NaN}',
        '{"accuracy": 101}',
        '{"accuracy": true}',
        "{}",
    ],
)
def test_malformed_metrics_are_named_and_missing(output, text):
    path = run_dir(output, "new", 2) / "metrics.json"
    path.write_text(text)
    rows, warnings = table(output)
    assert len(warnings) == 1 and str(path) in warnings[0] and "\n" not in warnings[0]
    assert rows["shapes", "SEP"]["seeds"] == "base 1, 2, 3; new 1, 3 (2 missing)"


def test_result_of_the_other_half_is_not_taken(output):
    path = run_dir(output, "new", 2) / "metrics.json"
    path.write_text(json.dumps({"accuracy": 82.0, "subsample_classes": "base"}))
    rows, warnings = table(output)
    assert '"base"' in warnings[0] and "(2 missing)" in rows["shapes", "SEP"]["seeds"]


# ---- several data sets, shots, configs, folders ------------------------------------------------------------


def test_average_over_data_sets(output):
    for half, accuracy in (("base", 90.0), ("new", 70.0)):
        finish(output, half, 1, accuracy, dataset="caltech101", cfg="vit_b16")
    found = row(output, "average")
    assert (found["base"], found["new"]) == ("86.00", "65.50")
    assert found["H"] == "74.36"  # of the averages: 2 * 86 * 65.5 / 151.5
    assert found["seeds"] == "2 data sets; seeds differ: caltech101 1; shapes 1, 2, 3"
    assert list(table(output)[0]) == [("caltech101", "SEP"), ("shapes", "SEP"), ("average", "SEP")]


def test_average_needs_every_data_set_of_the_table(output):
    for half, accuracy in (("base", 90.0), ("new", 70.0)):
        finish(output, half, 1, accuracy, dataset="caltech101", trainer="CoOp")
        finish(output, half, 1, accuracy, dataset="shapes", trainer="CoOp")
    found = row(output, "average")
    assert (found["base"], found["new"], found["H"]) == ("—", "—", "—")
    assert found["seeds"] == "2 data sets; no base: caltech101; no new: caltech101"
    assert row(output, "average", "CoOp")["base"] == "90.00"


def test_average_says_that_seeds_are_missing(output):
    finish(output, "base", 1, 90.0, dataset="caltech101")
    finish(output, "new", 1, 70.0, dataset="caltech101")
    (run_dir(output, "new", 3) / "metrics.json").unlink()
    found = row(output, "average")
    assert (found["base"], found["H"]) == ("86.00", "—")
    assert found["seeds"] == "2 data sets; seeds missing: shapes; seeds differ: caltech101 1; shapes 1, 2, 3"


def test_methods_come_in_the_papers_order(output):
    for trainer in ("Zeta", "E2MIM", "CoOp", "ZeroshotCLIP"):
        finish(output, "base", 1, 50.0, trainer=trainer)
    assert [method for _, method in table(output)[0]] == ["ZeroshotCLIP", "CoOp", "SEP", "E2MIM", "Zeta"]


def test_several_shots_and_configs_get_columns(output):
    assert set(row(output)) == {"data set", "method", "base", "new", "H", "seeds"}
    finish(output, "base", 1, 50.0, shots=4)
    finish(output, "base", 1, 51.0, cfg="other")
    finish(output, "base", 1, 52.0, trainer="CoOp")
    (found,) = base2new_tables(find_runs(output)[0])
    assert found.headers[:4] == ["shots", "data set", "method", "config"]
    assert [r[:5] for r in found.rows] == [
        ["4", "shapes", "SEP", "", "50.00"],
        ["16", "shapes", "CoOp", "", "52.00"],
        ["16", "shapes", "SEP", "other", "51.00"],
        ["16", "shapes", "SEP", "shapes", "82.00 ± 1.63"],
    ]


def test_outputs_of_several_folders_are_not_mixed(output):
    finish(output / "ablation", "base", 1, 50.0)
    (found,) = base2new_tables(find_runs(output)[0])
    assert [(r[0], r[3]) for r in found.rows] == [(".", "82.00 ± 1.63"), ("ablation", "50.00")]


def test_folder_may_be_deeper(output):
    assert row(output / "base2new")["H"] == "69.96"
    assert row(run_dir(output, "base", 1).parent)["base"] == "82.00 ± 1.63"


# ---- where runs come from ----------------------------------------------------------------------------------


def write_log(folder, text):
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(text)


def test_runs_of_a_fork_are_read_from_their_logs(tmp_path):
    where = {"trainer": "MaPLe", "cfg": "vit_b16_c2_ep5_batch4_2ctx", "dataset": "dtd"}
    write_log(run_dir(tmp_path, "base", 1, **where), "Finish training\n=> result\n* accuracy: 80.4%\n")
    write_log(run_dir(tmp_path, "new", 1, **where), "=> result\n* accuracy: 59.2%\n")
    zeroshot = run_dir(tmp_path, "base", 1, dataset="dtd", trainer="ZeroshotCLIP", shots="16_8.0")
    write_log(zeroshot, "eval_only: True\n=> result\n* accuracy: 53.2%\n")
    found = table(tmp_path)[0]
    assert (found["dtd", "MaPLe"]["base"], found["dtd", "MaPLe"]["new"]) == ("80.40", "59.20")
    assert found["dtd", "ZeroshotCLIP"]["base"] == "53.20"
    assert found["dtd", "ZeroshotCLIP"]["shots"] == "16_8.0"


def test_metrics_count_before_the_log(output):
    (run_dir(output, "base", 1) / "log.txt").write_text("Finish training\n=> result\n* accuracy: 1.0%\n")
    assert row(output)["base"] == "82.00 ± 1.63"


def test_runs_outside_the_layout_are_known_by_their_metrics(tmp_path):
    metrics = {"trainer": "SEP", "dataset": "Shapes", "shots": 16, "seed": 1}
    for name, half, accuracy in (("a", "base", 80.0), ("b", "new", 60.0), ("c", "all", 70.0)):
        (tmp_path / name).mkdir()
        text = json.dumps({**metrics, "subsample_classes": half, "accuracy": accuracy})
        (tmp_path / name / "metrics.json").write_text(text)
    rows, warnings = table(tmp_path)
    assert not warnings and rows["Shapes", "SEP"]["H"] == "68.57"

    (tmp_path / "again").mkdir()
    (tmp_path / "again/metrics.json").write_text((tmp_path / "a/metrics.json").read_text())
    rows, warnings = table(tmp_path)
    assert str(tmp_path / "again") in warnings[0] and str(tmp_path / "a") in warnings[0]
    assert rows["Shapes", "SEP"]["base"] == "—"

    (tmp_path / "b/metrics.json").write_text('{"accuracy": 3.0, "subsample_classes": "new"}')
    assert any("trainer" in w or "dataset" in w for w in table(tmp_path)[1])


# ---- the command -------------------------------------------------------------------------------------------


def test_command_prints_note_and_table(output):
    command = [sys.executable, str(ROOT / "tools/report.py"), str(output)]
    result = subprocess.run(command, cwd=output, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "population" in lines[0] and lines[2] == "## Base-to-new" and "harmonic mean" in lines[3]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == [
        *("shapes", "SEP", "82.00 ± 1.63", "61.00 ± 1.41", "69.96", "1, 2, 3")
    ]


@pytest.fixture
def all_protocols(output):
    """Base-to-new as in `output`; one model of Shapes tested elsewhere; 1 and 4 shots."""
    finish(output, "source", 1, 80.0)
    finish(output, "target", 1, 50.0, dataset="mini_counts", source="shapes")
    finish(output, "target", 1, 70.0, dataset="shapes_dark", source="shapes")
    finish(output, "few_shot", 1, 60.0, shots=1)
    finish(output, "few_shot", 1, 65.0, shots=4)
    return output


def test_all_tables_come_one_after_the_other(all_protocols, capsys):
    assert main([str(all_protocols)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "## Base-to-new",
        "## Cross-dataset, trained on shapes",
        "## Domain generalization, trained on shapes",
        "## Few-shot",
    ]
    headers = [line.split() for line in lines if line.startswith("| ") and "method" in line]
    assert [line[-4] for line in headers] == ["H", "average", "average", "shots"]


@pytest.mark.parametrize(
    "protocol, title, row",
    [
        ("base2new", "Base-to-new", ["shapes", "SEP", "82.00 ± 1.63", "61.00 ± 1.41", "69.96", "1, 2, 3"]),
        ("xd", "Cross-dataset, trained on shapes", ["SEP", "80.00", "50.00", "50.00", "1"]),
        ("dg", "Domain generalization, trained on shapes", ["SEP", "80.00", "70.00", "70.00", "1"]),
        ("few_shot", "Few-shot", ["shapes", "SEP", "60.00", "65.00", "1"]),
    ],
)
def test_one_protocol(all_protocols, capsys, protocol, title, row):
    assert main([str(all_protocols), "--protocol", protocol]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("#")] == [f"## {title}"]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == row


def test_latex(all_protocols, capsys):
    assert main([str(all_protocols), "--format", "latex_booktabs"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("% ") and out.count(r"\toprule") == 4 and "\n% Few-shot\n" in out
    assert r"mini\_counts" in out
    outside, inside = [], False
    for line in out.splitlines():
        inside = (inside or line.startswith(r"\begin")) and not line.startswith(r"\end")
        outside += [] if inside or line.startswith(r"\end") else [line]
    assert all(line == "" or line.startswith("% ") for line in outside)


@pytest.mark.parametrize("name", tabulate_formats)
def test_every_format_has_every_number(all_protocols, capsys, name):
    assert main([str(all_protocols), "--format", name]) == 0
    out = capsys.readouterr().out
    for number in ("82.00 ± 1.63", "69.96", "50.00", "70.00", "60.00", "65.00"):
        assert number in out


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
    (run_dir(output, "new", 2) / "metrics.json").write_text("{")
    assert main([str(output)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: ") and "warning" not in captured.out


# ---- properties --------------------------------------------------------------------------------------------

percent = st.floats(0, 100)
accuracies = st.dictionaries(st.integers(1, 6), st.none() | percent, max_size=6)


@given(percent, percent)
def test_harmonic_mean_lies_between_and_is_symmetric(base, new):
    h = harmonic_mean(base, new)
    assert h == harmonic_mean(new, base)
    assert min(base, new) - 1e-9 <= h <= max(base, new) + 1e-9
    assert h <= math.sqrt(base * new) + 1e-9
    assert harmonic_mean(base, base) == pytest.approx(base)


@settings(deadline=None)
@given(accuracies.filter(bool), accuracies)
def test_no_missing_seed_goes_unmentioned(base, new):
    halves = [("base", seed, value) for seed, value in base.items()]
    halves += [("new", seed, value) for seed, value in new.items()]
    runs = [Run("", "base2new", half, "shapes", "16", "SEP", "", seed, "", value) for half, seed, value in halves]
    (found,) = base2new_tables(runs)
    ((*_, base_text, new_text, h, seeds),) = found.rows
    found = [{s for s, v in values.items() if v is not None} for values in (base, new)]
    for text, values, has in zip((base_text, new_text), (base, new), found):
        if has:
            mean = statistics.fmean(values[s] for s in has)
            assert float(text.split(" ± ")[0]) == pytest.approx(mean, abs=0.00501)
        else:
            assert text == "—"
    lacking = (set(base) | set(new)) - (found[0] & found[1])
    assert lacking == set() or "missing" in seeds
    for seed in lacking:
        assert str(seed) in seeds.partition("(")[2]
    assert (h != "—") == (found[0] == found[1] != set())
