"""reproduce.sh: the runs of a whole protocol, in order, resumable, and their table."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.scripts.conftest import METHODS, ROOT

ELEVEN = "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
ELEVEN = ELEVEN.split()


def test_base_to_new_trains_and_tests_seed_by_seed(checkout):
    result = checkout("sep/reproduce.sh", "TEST.SAVE_PREDICTIONS", "True", DATASETS="shapes dtd", STUB_FINISHES=1)
    assert result.returncode == 0, result.stderr
    parts = [call.split(" --output-dir ")[1].split("/output/")[1].split(" ")[0] for call in checkout.calls[:-1]]
    dtd = "dtd/shots_16/SEP/vit_b16_ep50_batch32"
    assert parts == [
        f"base2new/{part}/{run}/seed{seed}"
        for seed in (1, 2, 3)
        for run in ("shapes/shots_16/SEP/shapes", dtd)
        for part in ("train_base", "test_new")
    ]
    assert all("TEST.SAVE_PREDICTIONS True" in call for call in checkout.calls[:-1])
    report = checkout.root / "tools" / "report.py"
    assert checkout.calls[-1] == f"{report} {checkout.root / 'output'} --protocol base2new"
    assert "== base2new, run 2 of 12: scripts/sep/base2new_test.sh shapes 1\n" in result.stdout


@pytest.mark.parametrize(
    ("protocol", "env", "runs"),
    [
        (
            "base2new",
            {},
            [run for name in ELEVEN for run in (f"base2new_train.sh {name} 1", f"base2new_test.sh {name} 1")],
        ),
        ("few_shot", {}, [f"few_shot.sh {name} 1 {shots}" for name in ELEVEN for shots in (1, 2, 4, 8, 16)]),
        ("few_shot", {"SHOTS": "2", "DATASETS": "dtd"}, ["few_shot.sh dtd 1 2"]),
        ("xd", {}, ["xd_train.sh imagenet 1", *(f"xd_test.sh {name} 1" for name in ELEVEN[1:])]),
        (
            "dg",
            {},
            ["xd_train.sh imagenet 1"] + [f"xd_test.sh imagenet{name} 1" for name in ("v2", "_sketch", "_a", "_r")],
        ),
        ("xd", {"SOURCE": "dtd", "DATASETS": "eurosat"}, ["xd_train.sh dtd 1", "xd_test.sh eurosat 1"]),
        (
            "xd",
            {"SOURCE": "shapes"},
            ["xd_train.sh shapes 1", "xd_test.sh shapes_counts 1", "xd_test.sh shapes_patterns 1"],
        ),
        (
            "dg",
            {"SOURCE": "shapes"},
            ["xd_train.sh shapes 1"]
            + [f"xd_test.sh shapes_{name} 1" for name in ("sketch", "texture", "clutter", "dark")],
        ),
    ],
)
def test_default_data_sets_are_the_papers(checkout, protocol, env, runs):
    result = checkout("sep/reproduce.sh", PROTOCOL=protocol, SEEDS="1", STUB_FINISHES=1, **env)
    assert result.returncode == 0, result.stderr
    shown = [line.split("scripts/sep/")[1] for line in result.stdout.splitlines() if line.startswith("== ")]
    assert shown == runs and len(checkout.calls) == len(runs) + 1
    assert checkout.calls[-1].endswith(f"--protocol {protocol}")


def test_stopped_at_any_run_it_goes_on_from_there(checkout):
    env = {"PROTOCOL": "xd", "DATASETS": "dtd eurosat", "SEEDS": "1", "STUB_FINISHES": 1}
    failed = checkout("sep/reproduce.sh", **env, STUB_EXIT=7, STUB_FAILS_FOR="datasets/eurosat.yaml")
    assert failed.returncode == 7
    assert failed.stderr.startswith("stopped at run 3 of 3 (scripts/sep/xd_test.sh eurosat 1) with exit code 7; ")
    assert len(checkout.calls) == 3  # and no table
    again = checkout("sep/reproduce.sh", **env)
    assert again.returncode == 0 and again.stdout.count("finished already") == 2
    assert len(checkout.calls) == 2 and "datasets/eurosat.yaml" in checkout.calls[0]


def test_ctrl_c_stops_the_whole_thing(checkout):
    result = checkout("sep/reproduce.sh", STUB_EXIT=130)  # train.py's exit code for it
    assert result.returncode == 130 and len(checkout.calls) == 1

    checkout.record.unlink()
    process = subprocess.Popen(
        checkout.command("sep/reproduce.sh"),
        cwd=checkout.cwd,
        env=checkout.environment(STUB_SLEEP=20),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # whoever started the tests in the background has had SIGINT ignored, which children inherit
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    give_up = time.time() + 20
    while not checkout.called and time.time() < give_up:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # to all processes, as a terminal sends it
    assert process.wait(timeout=10) != 0 and len(checkout.calls) == 2


def test_environment_reaches_the_runs(checkout):
    env = {"DATASETS": "shapes", "SEEDS": "2", "OUTPUT": "my results", "SHOTS": "4", "CFG": "mine", "REPORT": "no"}
    assert checkout("coop/reproduce.sh", **env, STUB_FINISHES=1).returncode == 0
    folder = checkout.cwd / "my results/base2new/train_base/shapes/shots_4/CoOp/mine/seed2"
    assert f"--output-dir {folder} " in checkout.calls[0]
    assert len(checkout.calls) == 2  # REPORT=no: no table


@pytest.mark.parametrize(
    ("args", "env", "names"),
    [
        ([], {"PROTOCOL": "b2n"}, ["PROTOCOL", "base2new, xd, dg or few_shot", "b2n"]),
        ([], {"DATASETS": "dtd caltech"}, ['no data set "caltech"', "nearest: caltech101"]),
        ([], {"PROTOCOL": "xd", "SOURCE": "image_net"}, ['no data set "image_net"']),
        ([], {"SEEDS": "1 two"}, ["SEEDS", "two"]),
        ([], {"PROTOCOL": "few_shot", "SHOTS": "1,2"}, ["SHOTS", "1,2"]),
        (["DATASET.NUM_SHOTS", "4"], {}, ["SHOTS", "DATASET.NUM_SHOTS"]),
    ],
)
def test_what_is_wrong_is_found_before_the_first_run(checkout, args, env, names):
    result = checkout("sep/reproduce.sh", *args, **env)
    assert result.returncode == 2 and checkout.calls == []
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    for name in names:
        assert name in result.stderr


def test_arguments_are_pairs(checkout):
    result = checkout("sep/reproduce.sh", "caltech101")
    assert result.returncode == 2 and result.stderr == "usage: bash scripts/sep/reproduce.sh [KEY VALUE ...]\n"


def test_demo_full_is_resumable_and_ends_in_all_tables(checkout):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, checkout.root)
    python = checkout.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(checkout.python, python)
    (checkout.root / ".venv" / "requirements-installed").touch()

    def demo(**env):
        env = checkout.environment(SEEDS="1", STUB_FINISHES=1, **env)
        return subprocess.run(["make", "demo-full"], cwd=checkout.root, env=env, capture_output=True, text=True)

    cut = demo(STUB_EXIT=130, STUB_FAILS_FOR="--trainer TCP")
    assert cut.returncode != 0 and "==== part 8 of 18: base2new/tcp" in cut.stdout
    assert "stopped at run 1 of 2 (scripts/tcp/base2new_train.sh shapes 1)" in cut.stderr
    done = demo()
    assert done.returncode == 0, done.stderr
    table = [call for call in checkout.calls if "report.py" in call]
    assert table == ["tools/report.py output --protocol all"] and checkout.calls[-1] == table[0]
    runs = [call.split("--output-dir ")[1].split("/output/")[1].split(" ")[0] for call in checkout.calls[:-1]]
    cut_run = "base2new/train_base/shapes/shots_16/TCP/shapes/seed1"
    assert runs.count(cut_run) == 2 and len(set(runs)) == len(runs) - 1  # nothing else is run twice
    expected = [
        f"base2new/{part}/shapes/16/{trainer}" for trainer in METHODS.values() for part in ("train_base", "test_new")
    ]
    targets = [f"shapes_{name}" for name in ("counts", "patterns", "sketch", "texture", "clutter", "dark")]
    for trainer in ("ZeroshotCLIP", "CoOp", "SEP", "E2MIM"):
        expected += [f"xd/train/shapes/16/{trainer}", *(f"xd/test/{target}/16/{trainer}" for target in targets)]
        for dataset in ("shapes", "shapes_counts", "shapes_patterns"):
            expected += [f"few_shot/{dataset}/{shots}/{trainer}" for shots in (1, 4)]
    shown = {run.replace("shots_", "").replace("/shapes/seed1", "") for run in runs}
    assert shown == set(expected)
