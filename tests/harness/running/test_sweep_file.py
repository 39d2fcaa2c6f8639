"""Sweep files: the tasks that they mean, and what is wrong with one, in one sentence."""

import pytest

from harness.catalogue import METHODS, MINIATURE
from harness.report.runs import find_runs
from harness.running import grid, launch, sweep_file
from tests.conftest import REPOSITORY

SWEEPS = REPOSITORY / "configs/sweeps"
ENVIRONMENT = launch.Environment("data", "out")
PARTS = "parts: [{protocol: xd, methods: [sep]}]\n"


def folders(tasks):
    return [task.folder(ENVIRONMENT).split("/", 1)[1] for task in tasks]


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_demo_full_is_what_the_results_are_of():
    tasks = sweep_file.read(str(SWEEPS / "demo_full.yaml"), seeds=[1])
    trainers = [method.trainer for method in METHODS if method.has("base2new")]
    parts = ("train_base", "test_new", "test_joint")
    expected = [f"base2new/{part}/{name}/16/{trainer}" for trainer in trainers for part in parts for name in MINIATURE]
    targets = MINIATURE + [f"shapes_{name}" for name in ("sketch", "texture", "clutter", "dark")]
    for trainer in ("ZeroshotCLIP", "CoOp", "SEP", "E2MIM"):
        expected += [f"xd/train/shapes/16/{trainer}", *(f"xd/test/{target}/16/{trainer}" for target in targets)]
    for trainer in ("ZeroshotCLIP", "CoOp", "SEP", "E2MIM", "TipAdapter", "TipAdapterF", "LinearProbe"):
        for dataset in ("mini_objects", "mini_counts", "mini_sketch"):
            expected += [f"few_shot/{dataset}/{shots}/{trainer}" for shots in (1, 4)]
    found = [task.replace("shots_", "").replace("/shapes/seed1", "") for task in folders(tasks)]
    assert sorted(found) == sorted(expected)


def test_every_sweep_file_can_be_read():
    for path in SWEEPS.glob("*.yaml"):
        assert sweep_file.read(str(path))


def test_defaults_are_the_papers(tmp_path):
    path = write(tmp_path, "parts: [{protocol: few_shot, methods: [sep]}]")
    assert folders(sweep_file.read(path)) == folders(
        grid.tasks_of([grid.series_of("few_shot", grid.methods_of(["sep"], "few_shot")[0])])
    )
    assert len(sweep_file.read(path)) == 11 * 5 * 3


def test_all_are_those_that_have_the_protocol(tmp_path):
    for protocol, more in (("base2new", set()), ("few_shot", {"tipadapter", "tipadapter_f", "linear_probe"})):
        path = write(tmp_path, f"parts: [{{protocol: {protocol}, methods: all, datasets: [shapes], shots: [16]}}]")
        found = {task.job.method.folder for task in sweep_file.read(path)}
        assert found == {method.folder for method in METHODS if method.has(protocol)} >= more
    path = write(tmp_path, "parts: [{protocol: xd, methods: [coop, linear_probe]}]")
    with pytest.raises(launch.Refused, match="^LinearProbe has no xd, only few_shot: its linear classifier knows no "):
        sweep_file.read(path)


def test_overrides_of_a_method_win_and_the_command_line_over_both(tmp_path):
    path = write(
        tmp_path,
        """
        parts: [{protocol: base2new, methods: [coop, sep], datasets: [shapes]}]
        seeds: [1]
        overrides: {OPTIM: {MAX_EPOCH: 3, LR: 0.1}}
        overrides_of: {sep: {OPTIM.MAX_EPOCH: 5, OPTIM.STEPSIZE: [2]}}
        """,
    )
    coop, sep = ("OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "0.1"), ("OPTIM.MAX_EPOCH", "5", "OPTIM.STEPSIZE", "[2]")
    pairs = {task.job.method.folder: task.pairs for task in sweep_file.read(path, pairs=["OPTIM.LR", "0.2"])}
    assert pairs == {"coop": (*coop, "OPTIM.LR", "0.2"), "sep": (*coop, *sep, "OPTIM.LR", "0.2")}
    tests = [task for task in sweep_file.read(path) if task.needs]
    assert tests and all(task.pairs == task.needs.pairs for task in tests)  # a test has its training's settings


def test_variants_have_folders_of_their_own_and_win(tmp_path):
    path = write(
        tmp_path,
        """
        parts: [{protocol: base2new, methods: [coop], datasets: [mini_fine]}]
        seeds: [1]
        overrides_of: {coop: {TRAINER.COOP.N_CTX: 16}}
        variants: {base: {}, few: {TRAINER.COOP.N_CTX: 4, OPTIM.LR: 0.1}}
        """,
    )
    tasks = sweep_file.read(path, pairs=["OPTIM.LR", "0.2"])
    sixteen, four = ("TRAINER.COOP.N_CTX", "16"), ("TRAINER.COOP.N_CTX", "4", "OPTIM.LR", "0.1")
    assert [task.pairs for task in tasks[::2]] == [(*sixteen, "OPTIM.LR", "0.2"), (*sixteen, *four, "OPTIM.LR", "0.2")]
    parts, names = ("train_base", "test_new"), ("base", "few")
    wanted = [f"base2new/{p}/mini_fine/shots_16/CoOp/shapes@{name}/seed1" for name in names for p in parts]
    assert [task.folder(launch.Environment("data", "out")) for task in tasks] == [f"out/{folder}" for folder in wanted]
    assert all(task.needs == training for training, task in zip(tasks[::2], tasks[1::2]))
    assert str(tasks[2]) == "scripts/coop/base2new_train.sh mini_fine 1 (few)"
    layout_run = find_runs_of(tmp_path, tasks[2])
    assert (layout_run.cfg, layout_run.trainer) == ("shapes@few", "CoOp")


def find_runs_of(tmp_path, task):
    """What a report makes of the task's folder."""
    folder = tmp_path / task.folder(launch.Environment("data", str(tmp_path)))
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    return find_runs(str(tmp_path))[0][0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("seeds: [1]", "it needs parts"),
        ("parts: 5", "parts is 5, but must be a list"),
        ("parts: [5]", "parts, number 1 is 5, but must be a section"),
        ("parts: [{methods: [sep]}]", "protocol must be one of base2new, joint, xd, dg, few_shot, not nothing"),
        ("parts: [{protocol: xd, methods: [sepp]}]", 'no method "sepp"'),
        ("parts: [{protocol: xd, methods: [sep], seeds: [1]}]", "a part has no seeds"),
        ("parts: [{protocol: xd, methods: [sep], datasets: dtd}]", "number 1.datasets is 'dtd', but must be a list"),
        (f"{PARTS}seed: [1]", "a sweep has no seed"),
        (f"{PARTS}seeds: 1", "seeds is 1, but must be a list"),
        (f"{PARTS}seeds: [one]", "seeds, number 1 is 'one', but must be a whole"),
        (f"{PARTS}seeds: [true]", "seeds, number 1 is True, but must be a whole"),
        (f"{PARTS}seeds: [-1]", "seeds and shots must not be below 0"),
        (f"{PARTS}source: 5", "source is 5, but must be text"),
        (f"{PARTS}overrides: 1", "overrides is 1, but must be a section"),
        (f"{PARTS}overrides_of: [sep]", "overrides_of is a list, but must be a section"),
        (f"{PARTS}overrides_of: {{sep: 3}}", "overrides_of.sep is 3, but must be a section"),
        (f"{PARTS}overrides_of: {{sepp: {{A: 1}}}}", "overrides_of has no sepp"),
        (f"{PARTS}variants: [1]", "variants is a list, but must be a section"),
        (f"{PARTS}variants: {{a: [1]}}", "variants.a is a list, but must be a section"),
        (f"{PARTS}variants: {{a/b: {{}}}}", "variants are names"),
    ],
)
def test_a_file_that_is_no_sweep_is_one_sentence(tmp_path, text, names):
    path = write(tmp_path, text)
    with pytest.raises(launch.Refused) as error:
        sweep_file.read(path)
    assert str(error.value).startswith(f"{path} is no sweep: ") and names in str(error.value)
    assert error.value.code == 2 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("parts: [{protocol: base2new, methods: [sep], datasets: [dtdd]}]", 'no data set "dtdd"'),
        ("parts: [{protocol: base2new, methods: [sep], shots: [1, 4]}]", "several shots (1, 4) are for few_shot alone"),
    ],
)
def test_what_no_script_would_take_no_sweep_takes(tmp_path, text, names):
    with pytest.raises(launch.Refused) as error:
        sweep_file.read(write(tmp_path, text))
    assert names in str(error.value)
