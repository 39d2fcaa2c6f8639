"""reproduce.sh: the runs of a whole protocol, in order, resumable, and their table."""

import pytest

from harness import launch, sweep
from harness.catalogue import DATASETS as ELEVEN
from harness.catalogue import TRAINERS
from tests.conftest import REPOSITORY


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


# ---- sweep files -------------------------------------------------------------------------------------------


def run_file(checkout, name, **env):
    checkout.calls.clear()
    path = str(REPOSITORY / "configs/sweeps" / name)
    return sweep.run_file(path, {"OUTPUT": str(checkout.root / "output"), "SEEDS": "1", **env})


def test_demo_full_is_resumable(checkout, capsys):
    checkout.finishes, checkout.exit_code, checkout.fails_for = True, 130, "--trainer TCP"
    assert run_file(checkout, "demo_full.yaml") == 130
    cut = capsys.readouterr()
    assert "==== part 8 of 18: base2new/tcp" in cut.out
    assert "stopped at run 1 of 2 (scripts/tcp/base2new_train.sh shapes 1)" in cut.err
    runs = [run_of(call) for call in checkout.calls]

    checkout.exit_code = 0
    assert run_file(checkout, "demo_full.yaml") == 0
    runs += [run_of(call) for call in checkout.calls]
    cut_run = "base2new/train_base/shapes/shots_16/TCP/shapes/seed1"
    assert runs.count(cut_run) == 2 and len(set(runs)) == len(runs) - 1  # nothing else is run twice
    expected = [f"base2new/{part}/shapes/16/{trainer}" for trainer in TRAINERS for part in ("train_base", "test_new")]
    targets = [f"shapes_{name}" for name in ("counts", "patterns", "sketch", "texture", "clutter", "dark")]
    for trainer in ("ZeroshotCLIP", "CoOp", "SEP", "E2MIM"):
        expected += [f"xd/train/shapes/16/{trainer}", *(f"xd/test/{target}/16/{trainer}" for target in targets)]
        for dataset in ("shapes", "shapes_counts", "shapes_patterns"):
            expected += [f"few_shot/{dataset}/{shots}/{trainer}" for shots in (1, 4)]
    shown = {run.replace("shots_", "").replace("/shapes/seed1", "") for run in runs}
    assert shown == set(expected)


def test_every_sweep_file_can_run(checkout):
    for path in sorted((REPOSITORY / "configs/sweeps").glob("*.yaml")):
        parts = sweep.read(str(path))
        assert parts, path
        for part in parts:
            sweep.check(part)


@pytest.mark.parametrize(
    "text",
    [
        "parts: [{protocol: base2new, methods: [sepp], datasets: [shapes]}]\nseeds: [1]\nsource: shapes\n",
        "seeds: [1]\n",
    ],
)
def test_a_file_that_is_no_sweep_is_one_sentence(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(launch.Refused, match=f"{path} is no sweep: "):
        sweep.read(str(path))
