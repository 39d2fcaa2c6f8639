"""The base-to-new table: means, H, what is missing, and where runs come from."""

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.results import harmonic_mean
from harness.report.runs import Run, find_runs
from harness.report.tables import base2new_tables
from tests.harness.runs import as_dicts, finish, run_dir


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


def test_large_seeds_have_no_holes(tmp_path):
    for seed in (1, 1234):
        finish(tmp_path, "base", seed, 80.0)
        finish(tmp_path, "new", seed, 60.0)
    assert row(tmp_path)["seeds"] == "1, 1234"


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
