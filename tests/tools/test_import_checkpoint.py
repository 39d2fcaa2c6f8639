"""The command: one file, a whole zoo, and the way from a published folder to a table."""

import json
import os
import re
import subprocess
import sys

import pytest

from harness.report.runs import find_runs
from tests.conftest import REPOSITORY, exits
from tests.zoo import theirs
from tools import predict, report, tsne
from tools.import_checkpoint import main

CFG = "vit_b16_c2_ep5_batch4_2ctx"
LEARNER = "MultiModalPromptLearner"


@pytest.fixture
def pairs(weights):
    backbone = ["MODEL.BACKBONE.NAME", weights["vit"], "MODEL.BACKBONE.ACTIVATION", "quickgelu"]
    return [*backbone, "INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", "0"]


@pytest.fixture
def zoo(tmp_path):
    """MaPLe's published layout: two data sets, two seeds."""
    for dataset in ("caltech101", "dtd"):
        for seed in (1, 2):
            theirs.save(tmp_path / f"zoo/{dataset}/base/seed{seed}/{LEARNER}/model.pth.tar-5", theirs.maple(), 5)
    return tmp_path / "zoo"


def run_of(output, dataset="caltech101", seed=1):
    return output / f"base2new/train_base/{dataset}/shots_16/MaPLe/{CFG}/seed{seed}"


@pytest.mark.long
def test_from_a_published_folder_to_a_table(tmp_path, caltech_stub, pairs, zoo, capsys, monkeypatch):
    output = tmp_path / "output"
    arguments = ["--trainer", "MaPLe", str(zoo / "caltech101"), "--recursive", "--root", str(caltech_stub)]
    assert main([*arguments, "--output-dir", str(output), *pairs[:2], *pairs[4:]]) == 0  # without the activation
    said = capsys.readouterr().out
    command = said.split("test it: ")[1].splitlines()[0]
    assert command.endswith("TRAINER.MAPLE.PROMPT_DEPTH 2") and "2 checkpoints below" in said
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    for script in (command, command.replace("base2new_train", "base2new_test")):
        done = subprocess.run(script, shell=True, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    again = subprocess.run(command, shell=True, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert "finished already" in again.stdout

    run = run_of(output)
    record = json.loads((run / "metrics.json").read_text())
    assert record["imported"]["file"].endswith("seed1/MultiModalPromptLearner/model.pth.tar-5")
    runs, warnings = find_runs(output)
    assert not warnings and {(r.part, r.seed, r.accuracy is None) for r in runs} == {
        ("base", 1, False),
        ("base", 2, True),  # imported, not tested
        ("new", 1, False),
    }
    assert not any(r.trained for r in runs)  # costs of training are not ours
    assert report.main([str(output)]) == 0
    assert "but trained by their public code (imported): MaPLe." in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(tsne, "plot", lambda panels, stem: [stem])
    assert tsne.main([str(run), "--classes", "2", "--output", str(tmp_path / "figures")]) == 0
    picture = str(next(caltech_stub.rglob("*.jpg")))
    assert predict.main(["--model-dir", str(run), picture]) == 0
    untested = ["--model-dir", str(run_of(output, seed=2)), picture]
    assert exits(predict.main, untested) == 1 and predict.main([*untested, "--classes", "face, car side"]) == 0


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path, pairs, zoo, capsys):
    (zoo / f"caltech101/base/seed2/{LEARNER}/model.pth.tar-5").write_bytes(b"PK damaged")
    theirs.save(zoo / "things/base/seed1/L/model.pth.tar-5", theirs.maple(), 5)
    output = tmp_path / "output"
    assert main(["--trainer", "MaPLe", str(zoo), "--recursive", "--output-dir", str(output), *pairs]) == 1
    printed = capsys.readouterr()
    first, second = printed.err.splitlines()
    assert first.startswith("error: Checkpoint") and "caltech101/base/seed2" in first and "is damaged" in first
    assert "things/base/seed1" in second and "names no data set" in second
    made = [run_of(output, d, s).is_dir() for d, s in (("caltech101", 1), ("caltech101", 2), ("dtd", 1), ("dtd", 2))]
    assert made == [True, False, True, True]
    # once more: what is there stays, what is mended comes along
    theirs.save(zoo / f"caltech101/base/seed2/{LEARNER}/model.pth.tar-5", theirs.maple(), 5)
    assert main(["--trainer", "MaPLe", str(zoo), "--recursive", "--output-dir", str(output), *pairs]) == 1
    assert capsys.readouterr().out.count("imported before") == 3 and run_of(output, seed=2).is_dir()


def test_where_the_settings_come_from(tmp_path, pairs, zoo):
    """The run's folder, else the file's path, else the flags; the flags win."""
    file = str(zoo / f"dtd/base/seed2/{LEARNER}/model.pth.tar-5")
    placed, named, flagged = run_of(tmp_path / "o", "dtd", 3), tmp_path / "named", tmp_path / "flagged"
    loose, bare = tmp_path / "loose", theirs.save(tmp_path / "theirs.pth", theirs.maple(), 5)
    assert main(["--trainer", "MaPLe", file, "--output-dir", str(placed), *pairs]) == 0
    assert main(["--trainer", "MaPLe", str(zoo / "dtd/base/seed2"), "--output-dir", str(named), *pairs]) == 0
    configs = REPOSITORY / "configs"
    flags = ["--dataset-config-file", f"{configs}/datasets/eurosat.yaml", "--seed", "7"]
    flags += ["--config-file", f"{configs}/trainers/MaPLe/{CFG}.yaml"]
    assert main(["--trainer", "MaPLe", file, "--output-dir", str(flagged), *flags, *pairs]) == 0
    flags = [*flags[:4], "--protocol", "base2new"]  # the config is then the published one
    assert main(["--trainer", "MaPLe", bare, "--output-dir", str(loose), *flags, *pairs]) == 0
    found = [json.loads((folder / "metrics.json").read_text()) for folder in (placed, named, flagged, loose)]
    assert [(r["dataset"], r["seed"], r["shots"], r["subsample_classes"]) for r in found] == [
        ("DescribableTextures", 3, 16, "base"),
        ("DescribableTextures", 2, 16, "base"),
        ("EuroSAT", 7, -1, "all"),
        ("EuroSAT", 7, 16, "base"),
    ]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--trainer", "MaPLe", "nothing.pth", "--output-dir", "dtd/seed1"], "names no data set"),
        (
            ["--trainer", "Mapel", "x", "--output-dir", "y"],
            "Unknown trainer Mapel: --trainer can be Zero",
        ),
        (
            ["--trainer", "MaPLe", "x", "--output-dir", f"o/base2new/train_base/dtd/shots_16/CoOp/{CFG}/seed1"],
            "is for a run of CoOp, not of MaPLe: correct --output-dir or --trainer",
        ),
        (
            ["--trainer", "MaPLe", "x", "--output-dir", f"o/base2new/test_new/dtd/shots_16/MaPLe/{CFG}/seed1"],
            "is for a test, not for a training: use another --output-dir",
        ),
        (["--trainer", "MaPLe", "empty", "--recursive"], "is no checkpoint .model.pth.tar-<epoch>.: correct the path"),
        (["--trainer", "MaPLe", "empty", "--output-dir", "y"], "is no checkpoint: name one file, or import all"),
        (["--trainer", "MaPLe", "zoo", "--output-dir", "y"], "are the checkpoints of 4 runs: name one file, or import"),
        (["--trainer", "CoOp", "zoo", "--recursive", "--output-dir", "o"], 'CoOp\'s public code.*"ctx" is missing'),
    ],
)
def test_errors(tmp_path, zoo, monkeypatch, capsys, arguments, sentence):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert exits(main, arguments) == 1
    error = capsys.readouterr().err
    assert re.search(sentence, error)
    assert not list(tmp_path.glob("**/metrics.json"))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["x", "--output-dir", "y"], "--trainer"),
        (["--trainer", "MaPLe", "x"], "--output-dir is needed"),
        (["--trainer", "MaPLe", "x", "--recursive", "--seed", "1"], "--recursive takes data sets, configs and seeds"),
    ],
)
def test_wrong_command_lines(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and sentence in capsys.readouterr().err
