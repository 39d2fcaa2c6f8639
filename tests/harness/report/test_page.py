"""The page that `tools/report.py --html` writes; tests/tools/test_page_in_a_browser.py opens it."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

import harness.report.page as package
from harness.report.formats import mark_best
from harness.report.page import curves, mistakes
from harness.report.runs import find_runs
from tests.conftest import exits, python
from tests.harness.report.pages import ACCURACY, PREDICTED, Page, full_output, page_of, write_curves, write_predictions
from tests.harness.runs import finish, run_dir
from tools.report import PROTOCOLS, main


@pytest.fixture
def output(tmp_path):
    return full_output(tmp_path / "output")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a full output, in which nothing is missing."""
    output = full_output(tmp_path_factory.mktemp("runs") / "output")
    return Page(page_of(output))


# ---- one file that is safe to open -----------------------------------------------------------------------------


def assert_closed(page):
    """Nothing in a page is fetched, and no script may run but its own."""
    text = page.source
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(page.all("script")) == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_it_asks_for_nothing(page):
    assert_closed(page)


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.all("a")] + [a["xlink:href"][1:] for a in page.all("use")]
    named = [a[k] for _, a in page.elements for k in ("aria-labelledby", "aria-describedby") if k in a]
    assert len(links) > 20 and {*links, *named} <= set(ids)


EVIL = "<script>alert(1)<\\script><img src=x onerror=alert(1)>$x_{$"  # neither markup nor a formula of matplotlib's


def test_text_of_runs_is_text(output):
    where = {"dataset": EVIL, "trainer": f"T{EVIL}", "cfg": f"c{EVIL}", "settings": {"KEY": EVIL}}
    for part, accuracy in (("base", ACCURACY), ("new", 50.0)):
        run = finish(output, part, 1, accuracy, record={"device": EVIL, "versions": {EVIL: EVIL}}, **where).parent
        write_curves(run, {f"train/{EVIL}": {0: 1.0, 1: 2.0}})
    run = run_dir(output, "base", 1, EVIL, f"T{EVIL}", f"c{EVIL}")
    write_predictions(run, classnames=[EVIL, f'"{EVIL}', f"'{EVIL}"])
    for shots in (1, 4):
        finish(output, "few_shot", 1, 50.0, shots=shots, **where)
    (finish(output, "base", 2, 50.0, **where)).write_text("{")
    page = Page(page_of(output))
    assert_closed(page)
    assert len(page.all("img")) == 13 and page.text.count("<script>alert(1)") > 30


def test_it_needs_no_torch(output):
    code = f"import sys; from tests.harness.report import pages; pages.page_of({str(output)!r}); print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code).split()}
    assert "matplotlib" in loaded and not loaded & {"torch", "tensorflow", "dassl", "trainers"}


# ---- what it says ----------------------------------------------------------------------------------------------


def test_tables_are_the_reports(output):
    page, (runs, _) = Page(page_of(output)), find_runs(output)
    tables = [table for _, tables_of in PROTOCOLS.values() for table in tables_of(runs)]
    assert len(tables) == 4
    for table in tables:
        assert page.tables[table.title] == [table.headers, *mark_best(table, "{} (best)", "{} (second)")]
        assert all(note in page.text for note in table.notes)


def test_averages_are_a_body_of_their_own(tmp_path):
    for trainer in ("CoOp", "SEP"):
        for dataset in ("dtd", "shapes"):
            finish(tmp_path, "base", 1, 50.0, dataset=dataset, trainer=trainer)
    text = page_of(tmp_path, ["base2new"])
    (table,) = re.findall(r"<caption>Base-to-new</caption>.*?</table>", text, flags=re.DOTALL)
    bodies = table.split("<tbody>")[1:]
    assert [body.count(">average<") for body in bodies] == [0, 2]


def test_charts_say_what_they_show(page):
    text = page.text
    assert "CoOp: base 81.50 ± 0.50, new 71.50 ± 0.50; SEP: base" in text
    assert "CoOp: 1 shot 62.50 ± 0.50, 4 shots 65.50 ± 0.50; SEP: 1 shot 63.50 ± 0.50" in text
    assert "loss of seed 1 from 2 to 1.05 at step 19; ce of seed 1 from 1.5 to 0.55 at step 19" not in text  # one term
    assert "ce of seed 1 from 1.5 to 0.55 at step 19" in text


def test_charts_take_the_pages_colours(page):
    text = page.source
    assert "#0000" not in text and "var(--series-0)" in text and "var(--ink)" in text
    for name in set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) - {"--length"}:
        assert text.count(f"{name}: #") == 2, f"{name} is not of both light and dark"


def test_calibration_classes_and_what_is_left_out(tmp_path):
    numbers = {"calibration": {"ece": 12.5}, "by_class": {"macro_recall": 40.0}}
    finish(tmp_path, "base", 1, 50.0, record=numbers)
    finish(tmp_path, "joint", 2, 50.0)
    page = Page(page_of(tmp_path))
    assert page.tables["Calibration, base classes"][1][2] == "12.50"
    assert page.tables["By class, base classes"][1][2] == "40.00"
    assert page.tables["What the comparison leaves out"][1][0] == "SEP"
    (row,) = page.tables["Joint base-to-new"][1:]
    assert row[1] == "SEP"


def test_a_joint_test_that_is_missing_is_said_once(tmp_path):
    for seed in (1, 3):
        finish(tmp_path, "joint", seed, 50.0, record={"joint": {"accuracy": 50.0, "base": 40.0, "new": 60.0}})
    rows = Page(page_of(tmp_path)).tables["Seeds without a result in the tables"]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("Joint base-to-new", "2")]


def test_cost_settings_and_environment(page):
    assert "60.5" in page.tables["Cost of training"][1]
    runs = page.tables["Runs"]
    assert runs[0] == ["run", "method", "seed", "epochs", "accuracy", "seconds", "memory", "settings"]
    assert runs[1] == ["shapes, base classes, 16 shots", "CoOp", "1", "—", "81.00", "60.5", "—", "settings-1"]
    assert "The same in all: config shapes, device GPU, torch 2.13.0, commit abc123." in page.text
    assert ["OPTIM.LR", "0.002"] in page.tables["Shared settings"]
    (sep,) = [rows for title, rows in page.tables.items() if title.startswith("SEP, shapes, base classes")]
    assert sep[1:] == [["TRAINER.NAME", "SEP"]]
    assert "Nothing: every run has a result" in page.text


def test_a_run_with_other_settings_is_told_apart(tmp_path):
    for seed, rate in ((1, 0.002), (2, 0.1)):
        finish(tmp_path, "few_shot", seed, 50.0, shots=4, settings={"OPTIM.LR": rate, "TRAINER.NAME": "SEP"})
    page = Page(page_of(tmp_path))
    shared = page.tables["Shared settings"]
    assert ["TRAINER.NAME", "SEP"] in shared and "OPTIM.LR" not in str(shared)
    (rows,) = [rows for title, rows in page.tables.items() if title == "SEP, shapes, all classes, 4 shots (seeds 2)"]
    assert ["OPTIM.LR", "0.1"] in rows


def test_a_run_outside_the_layout_has_its_own_record_curves_and_predictions(tmp_path, monkeypatch):
    """And nothing of the folder that the report is called from."""
    run = tmp_path / "output/mine"
    record = {"trainer": "SEP", "dataset": "Shapes", "shots": 16, "seed": 1, "subsample_classes": "base"}
    record.update(accuracy=ACCURACY, trained_epochs=7, versions={"torch": "1.9"}, settings={"OPTIM.LR": 0.5})
    for folder, more in ((run, {}), (tmp_path, {"trained_epochs": 1, "versions": {"torch": "2.0"}})):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({**record, **more}))
    write_curves(run, {"train/ce": {0: 2.0, 1: 1.0}})
    write_predictions(run)
    monkeypatch.chdir(tmp_path)
    page = Page(page_of(tmp_path / "output"))
    (row,) = [dict(zip(page.tables["Runs"][0], row)) for row in page.tables["Runs"][1:]]
    assert (row["epochs"], row["torch"]) == ("7", "1.9")
    assert ["OPTIM.LR", "0.5"] in page.tables["Shared settings"]
    assert "ce of seed 1 from 2 to 1 at step 1" in page.text and "owl" in str(page.tables["Accuracy by class"])


def test_what_is_missing(tmp_path):
    for part in ("base", "new"):
        for seed in (1, 2):
            finish(tmp_path, part, seed, 80.0, trainer="CoOp")
        finish(tmp_path, part, 1, 80.0)
    learner = run_dir(tmp_path, "base", 3, trainer="CoOp") / "prompt_learner"
    learner.mkdir(parents=True)
    (learner / "model.pth.tar-7").touch()
    (run_dir(tmp_path, "new", 1) / "metrics.json").write_text("{")
    page = Page(page_of(tmp_path))
    assert "CoOp, shapes, base classes, 16 shots, seed 3: trained to epoch 7" in page.text
    assert f"{run_dir(tmp_path, 'new', 1)}/metrics.json cannot be read" in page.text
    assert page.tables["Seeds without a result in the tables"][1:] == [
        ["Base-to-new", "shapes", "CoOp", "base", "3"],
        ["Base-to-new", "shapes", "CoOp", "new", "3"],
        ["Base-to-new", "shapes", "SEP", "new", "1"],
    ]


def test_what_no_run_has_left_is_said(tmp_path):
    finish(tmp_path, "base", 1, 80.0)
    page = Page(page_of(tmp_path))
    for sentence in (
        "No method has a result on both base and new classes",
        "No method has results of several numbers of shots.",
        "No run below this folder has left tensorboard files.",
        "No run has left its predictions: test with TEST.SAVE_PREDICTIONS True.",
        "There is no figures/tsne.svg or .png in the output folder",
        "No training run has its seconds on record.",
        "No run has its settings on record.",
    ):
        assert sentence in page.text
    assert not page.all("svg") and not page.all("img")


def test_a_t_sne_figure_that_is_too_large_is_said(tmp_path, monkeypatch):
    finish(tmp_path, "base", 1, 80.0)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/tsne.png").write_bytes(b"as many bytes")
    monkeypatch.setattr(package, "MOST_FIGURE_BYTES", 10)
    assert "figure is too large" in Page(page_of(tmp_path)).text


# ---- curves ----------------------------------------------------------------------------------------------------


def test_steps_that_were_run_again_count_once(tmp_path):
    write_curves(tmp_path, {"train/ce": {0: 3.0, 1: 2.0, 2: 9.0}, "train/lr": {0: 1.0}, "test/accuracy": {1: 80.0}})
    write_curves(tmp_path, {"train/ce": {2: 1.5, 3: 1.0}}, time=100.0)
    assert curves.read_losses(tmp_path / "tensorboard") == {"ce": ([0, 1, 2, 3], [3.0, 2.0, 1.5, 1.0])}


def test_the_sum_is_there_if_there_are_several_terms(tmp_path):
    write_curves(tmp_path, {"train/loss": {0: 3.0}, "train/ce": {0: 2.0}, "train/kg": {0: 1.0}})
    assert set(curves.read_losses(tmp_path / "tensorboard")) == {"loss", "ce", "kg"}


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    write_curves(tmp_path, {"train/ce": {i: float(i) for i in range(5003)}})
    steps, values = curves.read_losses(tmp_path / "tensorboard")["ce"]
    assert len(steps) <= curves.MOST_POINTS + 1 and (steps[0], steps[-1], values[-1]) == (0, 5002, 5002.0)


def test_a_training_that_diverged_or_was_cut_off_is_drawn(tmp_path):
    run = finish(tmp_path, "base", 1, 80.0).parent
    write_curves(run, {"train/ce": {0: 1.0, 1: float("nan"), 2: float("inf")}})
    (events,) = (run / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-3])
    ((chart,), _) = curves.loss_charts(tmp_path, find_runs(tmp_path)[0])
    assert "ce of seed 1 from 1 to nan at step 1" in chart.description


def test_charts_that_are_left_out_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "MOST_CHARTS", 1)
    for shots in (1, 4):
        write_curves(finish(tmp_path, "few_shot", 1, 80.0, shots=shots).parent, {"train/ce": {0: 1.0}})
    (_, (note,)) = curves.loss_charts(tmp_path, find_runs(tmp_path)[0])
    assert note == f"The first 1 kinds of runs; 1 more: tensorboard --logdir {tmp_path}"


# ---- mistakes --------------------------------------------------------------------------------------------------


def test_accuracy_by_class_and_confused_pairs(page):
    assert page.tables["Accuracy by class"] == [
        ["class", "SEP", "images"],
        ["owl", "25.00", "4"],
        ["cat", "75.00", "4"],
        ["dog", "100.00", "4"],
    ]
    text = " ".join(page.text.split())
    pairs = ["owl taken for dog 2 of 4", "cat taken for dog 1 of 4", "owl taken for cat 1 of 4"]
    assert [pair in text for pair in pairs] == [True] * 3 and text.index(pairs[0]) < text.index(pairs[1])
    images = page.all("img")
    assert [image["alt"] for image in images[:2]] == ["owl, taken for dog", "dog"]
    assert len(images) == 7 and all(image["src"].startswith("data:image/") for image in images)


@pytest.fixture
def predicted(tmp_path):
    """One run that has left its predictions."""
    write_predictions(finish(tmp_path, "base", 1, ACCURACY).parent)
    return tmp_path


def test_seeds_are_averaged_by_class(predicted):
    better = PREDICTED.copy()
    better[8:] = 2  # all owls are right
    write_predictions(finish(predicted, "base", 2, 100 * 11 / 12).parent, better)
    ((place,), _) = mistakes.find_mistakes(find_runs(predicted)[0])
    assert ["owl", "62.50 ± 37.50", "4"] in place.table.rows


def test_an_image_that_is_not_there_is_said(predicted):
    for path in (run_dir(predicted, "base", 1) / "images").iterdir():
        path.write_text("no image")
    page = Page(page_of(predicted))
    assert page.text.count("no image file") == 6 and not page.all("img")


@pytest.mark.parametrize("how", ["cut", "no zip", "labels", "pickle"])
def test_predictions_that_cannot_be_used_are_named(tmp_path, how):
    run = finish(tmp_path, "base", 1, ACCURACY).parent
    path = run / "predictions.npz"
    write_predictions(run, PREDICTED)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "no zip":
        path.write_text("")
    else:
        with np.load(path) as file:
            parts = dict(file)
        bad = {"labels": parts["labels"] + 1} if how == "labels" else {"impaths": parts["impaths"].astype(object)}
        np.savez(path, **{**parts, **bad})
    places, (note,) = mistakes.find_mistakes(find_runs(tmp_path)[0])
    assert not places and str(path) in note


def test_predictions_of_another_test_than_the_record(tmp_path):
    path = finish(tmp_path, "base", 1, ACCURACY).parent / "predictions.npz"
    write_predictions(path.parent, np.zeros(12, int))
    (run,), (warning,) = find_runs(tmp_path)
    assert run.accuracy is None
    assert warning == f"{path} gives 33.33 %, but its metrics.json 66.67 %; test that run again"
    assert mistakes.find_mistakes([run]) == ([], [])


def test_only_the_hardest_classes_are_listed(predicted, monkeypatch):
    monkeypatch.setattr(mistakes, "MOST_CLASSES", 2)
    ((place,), _) = mistakes.find_mistakes(find_runs(predicted)[0])
    assert [row[0] for row in place.table.rows] == ["owl", "cat"] and "2 of 3 classes." in place.table.notes


# ---- the command -----------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_prints_its_path(output, tmp_path, capsys):
    path = tmp_path / "new folder/page.html"
    assert main([str(output), "--html", str(path), "--protocol", "few_shot"]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    page = Page(path.read_text(encoding="utf-8"))
    assert "Few-shot" in page.tables and "Base-to-new" not in page.tables
    assert not any("base classes" in row[0] for row in page.tables["Runs"])


def test_what_it_cannot_do_is_one_sentence(output, tmp_path, capsys):
    assert exits(main, [str(output), "--html", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"error: {tmp_path} cannot be written (Is a directory); give --html another file\n"
    )
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--html", str(tmp_path / "page.html")]) == 1
    assert capsys.readouterr().err.startswith("error: no run below") and not (tmp_path / "page.html").exists()
    with pytest.raises(SystemExit):
        main([str(output), "--html", "page.html", "--format", "csv"])
    assert "--html writes a page, which has no --format" in capsys.readouterr().err


def test_mean_ranks_and_reliability(tmp_path):
    bins = [[None, None, 0], [60.0, 50.0, 3], [90.0, 100.0, 1]]
    record = {"calibration": {"ece": 1.0, "bins": 3}, "reliability": bins}
    for i, dataset in enumerate(("dtd", "eurosat")):
        for trainer, more in (("SEP", 2), ("CoOp", i), ("MaPLe", 0.5)):
            for part in ("base", "new"):
                finish(tmp_path, part, 1, 50.0 + more, dataset=dataset, trainer=trainer, record=record)
    page = Page(page_of(tmp_path))
    assert "Mean ranks over 2 data sets: SEP 1.00, CoOp 2.50, MaPLe 2.50." in page.text
    assert "Not told apart: SEP to MaPLe." in page.text
    assert "CoOp: 60 % sure, 50 % right, 90 % sure, 100 % right" in page.text


def test_pictures_that_would_be_too_many_are_left_out_and_counted(predicted, monkeypatch):
    monkeypatch.setattr(mistakes, "MOST_PICTURES", 1)
    page = Page(page_of(predicted))
    assert page.source.count("data:image/jpeg") == 1 and "no image file" not in page.text
    assert re.search(r"The first 1 pictures of \d+\.", page.text)
