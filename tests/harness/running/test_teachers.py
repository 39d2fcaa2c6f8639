"""A run that learns from another: the scripts train that first, and grids and sweeps order the two."""

import subprocess
import sys

import pytest

from harness import catalogue
from harness.report.runs import find_runs
from harness.running import grid, launch
from harness.running.protocols import make_job
from harness.running.sweep import DONE, FAILED, HELD, Sweep
from tests.harness.ground import Ground

KEY = "TRAINER.PROMPTKD.TEACHER"
B16, L14 = "vit_b16_c2_ep20_batch8_4+4ctx", "vit_l14_c2_ep20_batch8_4+4ctx"
PLAIN = "vit_b16_c2_ep20_batch4_4+4ctx"  # PromptSRC's own
METHOD = catalogue.method("promptkd")
ENVIRONMENT = launch.Environment("data", "out")


def places(calls):
    return [call[call.index("--output-dir") + 1].split("/output/")[1] for call in calls]


def value(call, key):
    """What train.py makes of a key that is given: the last pair wins."""
    return dict(zip(call[1:], call[2:])).get(key)


def student(dataset, cfg=B16, part="train_base"):
    return f"base2new/{part}/{dataset}/shots_16/PromptKD/{cfg}/seed1"


def teacher(dataset, trainer="PromptSRC", cfg=L14):
    return f"base2new/train_base/{dataset}/shots_16/{trainer}/{cfg}/seed1"


# ---- the scripts -----------------------------------------------------------------------------------------------


def test_a_script_trains_the_teacher_first_and_once(checkout):
    checkout.finishes = True
    result = checkout("promptkd/base2new_train.sh", "caltech101", 1, "OPTIM.LR", "0.1")
    assert result.returncode == 0, result.stderr
    assert places(checkout.calls) == [teacher("caltech101"), student("caltech101")]
    first, second = checkout.calls
    assert value(first, "--config-file").endswith(f"PromptSRC/{L14}.yaml") and value(first, "OPTIM.LR") is None
    assert value(first, "DATASET.SUBSAMPLE_CLASSES") == "base"
    assert value(second, KEY) == value(first, "--output-dir") and value(second, "OPTIM.LR") == "0.1"
    assert f"first what it learns from: scripts/promptsrc/base2new_train.sh caltech101 1, config {L14}\n" in (
        result.stdout
    )
    again = checkout("promptkd/base2new_train.sh", "caltech101", 1, "OPTIM.LR", "0.1")
    assert again.returncode == 0 and not checkout.calls and again.stdout.startswith("finished already")
    assert checkout("promptkd/base2new_train.sh", "caltech101", 1, FORCE=1).returncode == 0
    assert places(checkout.calls) == [student("caltech101")]  # the teacher stays
    tested = checkout("promptkd/base2new_test.sh", "caltech101", 1)
    assert tested.returncode == 0, tested.stderr
    assert places(checkout.calls) == [student("caltech101", part="test_new")] and KEY not in checkout.called


def test_another_teacher_by_name_has_a_folder_of_its_own(checkout):
    checkout.finishes = True
    for script, part in (("train", "train_base"), ("test", "test_new")):
        result = checkout(f"promptkd/base2new_{script}.sh", "sun397", 1, KEY, "SEP")
        assert result.returncode == 0, result.stderr
        assert places(checkout.calls)[-1] == student("sun397", f"{B16}@SEP", part)
        if script == "train":
            assert places(checkout.calls)[0] == teacher("sun397", "SEP", "vit_l14_ep10_batch128")
            assert value(checkout.called, KEY).endswith(teacher("sun397", "SEP", "vit_l14_ep10_batch128"))
        assert "SEP" not in checkout.called[1:]
    (found,) = [run for run in find_runs(str(checkout.root / "output"))[0] if run.part == "new"]
    assert (found.trainer, found.cfg) == ("PromptKD", f"{B16}@SEP")


def test_a_folder_is_taken_as_it_is(checkout):
    result = checkout("promptkd/base2new_train.sh", "dtd", 1, KEY, "some/run")
    assert result.returncode == 0, result.stderr
    assert places(checkout.calls) == [student("dtd", f"{B16}_kd200")] and value(checkout.called, KEY) == "some/run"
    checkout.finishes = True
    checkout("promptkd/base2new_train.sh", "dtd", 1, KEY, "some/run")
    assert checkout("promptkd/base2new_test.sh", "dtd", 1, KEY, "some/run").returncode == 0
    assert KEY not in checkout.called


def test_bundled_data_has_the_methods_own_run_as_teacher(checkout):
    checkout.finish(trainer="PromptSRC")
    result = checkout("promptkd/base2new_train.sh", "shapes", 1, CFG="mine")
    assert result.returncode == 0, result.stderr
    assert places(checkout.calls) == [student("shapes", "mine")]
    assert value(checkout.called, KEY) == str(checkout.run_dir(trainer="PromptSRC"))


def test_a_trainer_without_a_config_to_teach_with(checkout):
    result = checkout("promptkd/base2new_train.sh", "shapes", 1, KEY, "CoOp")
    assert result.returncode == 2 and not checkout.calls
    assert f"{KEY} can be PromptSRC, SEP or the folder of a run, but not CoOp" in result.stderr


def test_a_teacher_that_fails_stops_the_script(checkout):
    checkout.fails_for, checkout.exit_code = "PromptSRC", 7
    result = checkout("promptkd/base2new_train.sh", "shapes", 1)
    assert result.returncode == 7 and len(checkout.calls) == 1
    assert "scripts/promptsrc/base2new_train.sh shapes 1 ended with exit code 7; the same command" in result.stderr


def test_what_it_has_not(checkout):
    for script, arguments, sentence in (
        ("few_shot", ("dtd", 1, 4), "PromptKD has no few_shot, only base2new, xd: it learns from all training images"),
        ("xd_train", ("imagenet", 1), "PromptKD has no xd_train.sh: xd_test.sh trains it on each target"),
        (
            "xd_test",
            ("imagenet_a", 1),
            "learns from a data set's training images, and imagenet_a has test images alone",
        ),
        ("reproduce", (), "PromptKD has no dg, only base2new, xd"),
    ):
        result = checkout(f"promptkd/{script}.sh", *arguments, PROTOCOL="dg")
        assert result.returncode == 2 and not checkout.calls and sentence in result.stderr


# ---- across data sets: a student for each target, one teacher of the source -----------------------------------------


def across(part, dataset, trainer="PromptKD", cfg=f"{B16}_cross_datasets"):
    return f"xd/{part}/{dataset}/shots_16/{trainer}/{cfg}/seed1"


def test_a_target_has_a_student_and_the_source_a_teacher(checkout):
    checkout.finishes = True
    source = across("train", "imagenet", "PromptSRC", L14)
    result = checkout("promptkd/xd_test.sh", "dtd", 1)
    assert result.returncode == 0, result.stderr
    assert places(checkout.calls) == [source, across("test", "dtd")]
    assert f"first what it learns from: scripts/promptsrc/xd_train.sh imagenet 1, config {L14}\n" in result.stdout
    first, second = checkout.calls
    assert value(first, "--dataset-config-file").endswith("imagenet.yaml")
    assert value(second, "--dataset-config-file").endswith("dtd.yaml")
    assert value(second, KEY) == value(first, "--output-dir") and "--eval-only" not in second
    assert {value(call, "DATASET.SUBSAMPLE_CLASSES") for call in checkout.calls} == {"all"}
    again = checkout("promptkd/xd_test.sh", "dtd", 1)
    assert again.returncode == 0 and not checkout.calls and again.stdout.startswith("finished already")
    assert checkout("promptkd/xd_test.sh", "eurosat", 1).returncode == 0
    assert places(checkout.calls) == [across("test", "eurosat")]  # of the same teacher
    result = checkout("promptkd/xd_test.sh", "mini_fine", 1, KEY, "SEP", SOURCE="shapes")
    assert result.returncode == 0, result.stderr
    shapes = across("train", "shapes", "SEP", "shapes"), across("test", "mini_fine", cfg="shapes@SEP")
    assert places(checkout.calls) == list(shapes)


def test_across_data_sets_in_one_go(checkout):
    checkout.finishes = True
    done = checkout("promptkd/reproduce.sh", PROTOCOL="xd", DATASETS="dtd ucf101", SEEDS=1, REPORT="no")
    assert done.returncode == 0, done.stderr
    teachers = across("train", "imagenet", "PromptSRC", L14)
    assert places(checkout.calls) == [teachers, across("test", "dtd"), across("test", "ucf101")]
    tasks = grid.tasks_of([grid.series_of("xd", METHOD, ["dtd", "eurosat"], [1])])
    assert [task.folder(ENVIRONMENT)[4:] for task in tasks] == [
        teachers,
        across("test", "dtd"),
        across("test", "eurosat"),
    ]
    assert [task.needs for task in tasks] == [None, tasks[0], tasks[0]]


def test_reproduce(checkout):
    checkout.finishes = True
    assert checkout("promptkd/reproduce.sh", DATASETS="dtd shapes", SEEDS=1, REPORT="no").returncode == 0
    dtd = f"{B16}_kd200"
    assert places(checkout.calls) == [
        *(teacher("dtd"), student("dtd", dtd), student("dtd", dtd, "test_new")),
        *(teacher("shapes", cfg="shapes"), student("shapes", "shapes"), student("shapes", "shapes", "test_new")),
    ]
    assert checkout("promptkd/reproduce.sh", DATASETS="dtd", SEEDS=1, REPORT="no", FORCE=1).returncode == 0
    assert places(checkout.calls) == [student("dtd", dtd), student("dtd", dtd, "test_new")]


# ---- grids and sweeps --------------------------------------------------------------------------------------------


def tasks_of(*folders, datasets=("dtd", "shapes"), pairs_of=None):
    series = [grid.series_of("base2new", catalogue.method(folder), datasets, [1]) for folder in folders]
    return grid.tasks_of(series, pairs_of)


@pytest.mark.parametrize("folders", [("promptkd",), ("promptkd", "promptsrc"), ("promptsrc", "promptkd")])
def test_a_grid_has_the_teachers_each_once_and_first(folders):
    pairs_of = {"promptsrc": ["OPTIM.LR", "0.1"], "promptkd": ["OPTIM.LR", "0.2"]}
    tasks = tasks_of(*folders, pairs_of=pairs_of)
    found = [task.folder(ENVIRONMENT) for task in tasks]
    assert len(set(found)) == len(found) == 6 + 3 * (len(folders) - 1)
    for number, task in enumerate(tasks):
        assert task.needs is None or task.needs in tasks[:number]
        assert task.pairs == tuple(pairs_of[task.job.method.folder])
    assert str(next(task for task in tasks if task.job.teaches)) == f"scripts/promptsrc/base2new_train.sh dtd 1 ({L14})"
    students = [task for task in tasks if task.job.method is METHOD and not task.job.step.needs]
    assert [task.needs.folder(ENVIRONMENT) for task in students] == [
        f"out/{teacher('dtd')}",
        f"out/{teacher('shapes', cfg='shapes')}",
    ]
    assert all(task.needs in students for task in tasks if task.job.method is METHOD and task.job.step.needs)


def test_a_grid_with_another_teacher():
    tasks = tasks_of("promptkd", datasets=["dtd"], pairs_of={"promptkd": [KEY, "SEP"], "sep": ["OPTIM.LR", "0.1"]})
    assert [task.folder(ENVIRONMENT)[4:] for task in tasks] == [
        teacher("dtd", "SEP", "vit_l14_ep50_batch32"),
        student("dtd", f"{B16}_kd200@SEP"),
        student("dtd", f"{B16}_kd200@SEP", "test_new"),
    ]
    assert tasks[0].pairs == ("OPTIM.LR", "0.1")
    assert len(tasks_of("promptkd", datasets=["dtd"], pairs_of={"promptkd": [KEY, "a/run"]})) == 2


def test_forcing_leaves_teachers_alone_that_were_not_asked_for(tmp_path):
    environment = launch.Environment("data", str(tmp_path), force=True)
    for folders, stays in ((("promptkd",), True), (("promptkd", "promptsrc"), False)):
        tasks = tasks_of(*folders, datasets=["shapes"])
        for task in tasks:
            (tmp_path / task.folder(environment)).mkdir(parents=True, exist_ok=True)
        grid.clear(tasks, environment)
        left = [place.relative_to(tmp_path).as_posix() for place in tmp_path.glob("**/seed1")]
        assert left == [teacher("shapes", cfg="shapes")] * stays


def test_every_teacher_has_a_config_that_differs_in_its_backbone():
    for trainer in METHOD.teachers:
        method = catalogue.method_of(trainer)
        for dataset in catalogue.DATASETS:
            assert method.config(catalogue.TEACHER, dataset, 16).startswith("vit_l14_")
            assert method.config("base2new", dataset, 16).startswith("vit_b16_")
        assert method.config(catalogue.TEACHER, "mini_fine", 16) == "shapes"


def test_a_student_is_finished_without_its_teacher(tmp_path, checkout):
    """And is not before it is trained."""
    task = tasks_of("promptkd", datasets=["shapes"])[1]
    environment = launch.Environment("data", str(checkout.root / "output"))
    assert task.job == make_job("base2new_train", METHOD, "shapes", 1) and not task.is_finished(environment)
    checkout.finish(trainer="PromptKD", pairs=[KEY, str(checkout.run_dir(trainer="PromptSRC"))])
    assert task.is_finished(environment)


class Chains:
    """An engine that takes chains, and does nothing."""

    chains, free = True, 10


def test_a_slurm_job_is_a_training_with_all_that_needs_it(tmp_path):
    environment = launch.Environment("data", str(tmp_path))
    sweep = Sweep(tasks_of("promptkd", "promptsrc"), environment, 1)
    names = [task.folder(environment)[len(str(tmp_path)) + 1 :] for task in sweep.tasks]
    alone, shared = ("dtd", "shapes")
    assert [[names[number] for number in batch] for batch in sweep._batches(Chains())] == [
        [teacher(alone), *(student(alone, f"{B16}_kd200", part) for part in ("train_base", "test_new"))],
        [
            teacher(shared, cfg="shapes"),
            *(student(shared, "shapes", part) for part in ("train_base", "test_new")),
            teacher(shared, cfg="shapes").replace("train_base", "test_new"),
        ],
        [teacher(alone, cfg=PLAIN), teacher(alone, cfg=PLAIN).replace("train_base", "test_new")],
    ]


def test_a_chain_leaves_out_what_a_training_that_failed_was_for(tmp_path):
    """What a SLURM job does: exit codes by number, of a teacher, its student and the student's test; then of CoOp's."""
    ground = Ground(tmp_path)
    code = """
from harness.running import grid, launch, worker
methods = grid.methods_of(["promptkd", "coop"], "base2new")
tasks = grid.tasks_of(grid.series_of("base2new", method, ["shapes"], [1]) for method in methods)
print(worker.Chain(launch.read_environment({}), "/")(dict(enumerate(tasks, start=5))))
"""
    options = ground.options(FAIL="PromptSRC:1")
    command = [sys.executable, "-c", code]
    for expected in ("{5: 7, 8: 0, 9: 0}\n", "{5: 0, 6: 0, 7: 0, 8: 0, 9: 0}\n"):
        done = subprocess.run(**{**options, "args": command, "cwd": ground.root}, capture_output=True, text=True)
        assert done.stdout == expected, done.stderr


def test_students_wait_for_their_teacher_and_are_held_up_if_it_fails(tmp_path):
    ground = Ground(tmp_path)
    grid = ["--methods", "promptkd", "--datasets", "shapes", "--seeds", 1, "--jobs", 2]
    done = ground(*grid, FAIL="PromptSRC:9")
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == f"3 runs: 1 {FAILED}, 2 {HELD}"
    ground.journal_file.unlink()
    assert ground(*grid).stdout.endswith(f"3 {DONE}\n")
    parts = teacher("shapes", cfg="shapes"), student("shapes", "shapes"), student("shapes", "shapes", "test_new")
    told = [tuple(line.split()[:2]) for line in ground.journal_file.read_text().splitlines()]
    assert told == [(word, part) for part in parts for word in ("start", "end")]
