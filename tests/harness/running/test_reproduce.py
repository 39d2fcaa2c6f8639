"""reproduce.sh: the runs of a whole protocol, in order, resumable, and their table."""

import subprocess

import pytest

from harness.catalogue import DATASETS as ELEVEN
from harness.running.script import call


def run_of(call):
    """A call's run: the folder below output/."""
    return call[call.index("--output-dir") + 1].split("/output/")[1]


def test_base_to_new_trains_and_tests_seed_by_seed(checkout):
    checkout.finishes = True
    result = checkout("sep/reproduce.sh", "TEST.SAVE_PREDICTIONS", "True", DATASETS="shapes dtd")
    assert result.returncode == 0, result.stderr
    parts = [run_of(call) for call in checkout.calls[:-1]]
    dtd = "dtd/shots_16/SEP/vit_b16_ep50_batch32"
    assert parts == [
        f"base2new/{part}/{run}/seed{seed}"
        for seed in (1, 2, 3)
        for run in ("shapes/shots_16/SEP/shapes", dtd)
        for part in ("train_base", "test_new")
    ]
    assert all("TEST.SAVE_PREDICTIONS True" in " ".join(call) for call in checkout.calls[:-1])
    report = str(checkout.root / "tools" / "report.py")
    assert checkout.calls[-1] == [report, str(checkout.root / "output"), "--protocol", "base2new"]
    assert "== base2new, run 2 of 12: scripts/sep/base2new_test.sh shapes 1\n" in result.stdout


@pytest.mark.parametrize(
    ("protocol", "env", "runs"),
    [
        ("few_shot", {}, [f"few_shot.sh {name} 1 {shots}" for name in ELEVEN for shots in (1, 2, 4, 8, 16)]),
        ("few_shot", {"SHOTS": "2", "DATASETS": "dtd"}, ["few_shot.sh dtd 1 2"]),
        ("xd", {}, ["xd_train.sh imagenet 1", *(f"xd_test.sh {name} 1" for name in ELEVEN[1:])]),
        ("xd", {"SOURCE": "dtd", "DATASETS": "eurosat"}, ["xd_train.sh dtd 1", "xd_test.sh eurosat 1"]),
        (
            "dg",
            {"SOURCE": "shapes"},
            ["xd_train.sh shapes 1"]
            + [f"xd_test.sh shapes_{name} 1" for name in ("sketch", "texture", "clutter", "dark")],
        ),
    ],
)
def test_default_data_sets_are_the_papers(checkout, protocol, env, runs):
    checkout.finishes = True
    result = checkout("sep/reproduce.sh", PROTOCOL=protocol, SEEDS="1", **env)
    assert result.returncode == 0, result.stderr
    shown = [line.split("scripts/sep/")[1] for line in result.stdout.splitlines() if line.startswith("== ")]
    assert shown == runs and len(checkout.calls) == len(runs) + 1
    assert checkout.calls[-1][-2:] == ["--protocol", protocol]


def test_stopped_at_any_run_it_goes_on_from_there(checkout):
    env = {"PROTOCOL": "xd", "DATASETS": "dtd eurosat", "SEEDS": "1"}
    checkout.finishes, checkout.exit_code, checkout.fails_for = True, 7, "datasets/eurosat.yaml"
    failed = checkout("sep/reproduce.sh", **env)
    assert failed.returncode == 7
    assert failed.stderr.startswith("stopped at run 3 of 3 (scripts/sep/xd_test.sh eurosat 1) with exit code 7; ")
    assert len(checkout.calls) == 3  # and no table
    checkout.exit_code = 0
    again = checkout("sep/reproduce.sh", **env)
    assert again.returncode == 0 and again.stdout.count("finished already") == 2
    assert len(checkout.calls) == 2 and "datasets/eurosat.yaml" in " ".join(checkout.calls[0])


def test_a_run_that_is_refused_stops_it(checkout):
    checkout.checkpoint(7)
    result = checkout("sep/reproduce.sh", DATASETS="shapes", SEEDS="1")  # train.py leaves no result
    assert result.returncode == 1 and len(checkout.calls) == 1
    assert result.stderr.startswith("error: training in ") and "stopped at run 2 of 2 " in result.stderr


def test_environment_reaches_the_runs(checkout):
    env = {"DATASETS": "shapes", "SEEDS": "2", "OUTPUT": "my results", "SHOTS": "4", "CFG": "mine", "REPORT": "no"}
    checkout.finishes = True
    assert checkout("coop/reproduce.sh", **env).returncode == 0
    folder = checkout.cwd / "my results/base2new/train_base/shapes/shots_4/CoOp/mine/seed2"
    first = checkout.calls[0]
    assert first[first.index("--output-dir") + 1] == str(folder)
    assert len(checkout.calls) == 2  # REPORT=no: no table


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"PROTOCOL": "b2n"}, ["PROTOCOL", "base2new, joint, xd, dg, few_shot", "b2n"]),
        ({"DATASETS": "dtd caltech"}, ['no data set "caltech"', "nearest: caltech101"]),
        ({"PROTOCOL": "xd", "SOURCE": "image_net"}, ['no data set "image_net"']),
        ({"SEEDS": "1 two"}, ["SEEDS", "two"]),
        ({"PROTOCOL": "few_shot", "SHOTS": "1,2"}, ["SHOTS", "1,2"]),
    ],
)
def test_what_is_wrong_is_found_before_the_first_run(checkout, env, names):
    result = checkout("sep/reproduce.sh", **env)
    assert result.returncode == 2 and checkout.calls == []
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    for name in names:
        assert name in result.stderr


def test_an_interrupted_wait_is_never_a_success(monkeypatch):
    """A wait that is interrupted just after the child was reaped knows nothing of how it ended."""

    class Popen:
        def __init__(self, *args, **kwargs):
            self.waits = 0

        def wait(self):
            self.waits += 1
            if self.waits == 1:
                raise KeyboardInterrupt
            return 0

    monkeypatch.setattr(subprocess, "Popen", Popen)
    assert call(["true"]) == 130


def test_a_method_that_has_some_protocols_alone(checkout):
    checkout.finishes = True
    reason = "its cache knows no other classes than those of its training images"
    for script, env in (("reproduce", {"PROTOCOL": "base2new"}), ("base2new_train", {}), ("base2new_test", {})):
        result = checkout(f"tipadapter_f/{script}.sh", *(() if env else ("dtd", 1)), **env)
        assert (result.returncode, checkout.calls) == (2, [])
        assert result.stderr == f"error: TipAdapterF has no base2new, only few_shot: {reason}\n"
    result = checkout("tipadapter_f/xd_test.sh", "dtd", 1)
    assert result.stderr == f"error: TipAdapterF has no xd, only few_shot: {reason}\n"
    result = checkout("tipadapter_f/reproduce.sh", DATASETS="dtd eurosat", SEEDS="1", SHOTS="4")
    assert result.returncode == 0, result.stderr
    assert [run_of(call) for call in checkout.calls[:-1]] == [
        "few_shot/dtd/shots_4/TipAdapterF/vit_b16_ep20_batch256/seed1",
        "few_shot/eurosat/shots_4/TipAdapterF/vit_b16_ep100_batch256/seed1",
    ]
