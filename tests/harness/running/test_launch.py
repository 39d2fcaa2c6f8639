"""The base-to-new scripts, and what all scripts share: arguments, environment, finished and interrupted runs."""

import json
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.catalogue import METHODS
from harness.running.protocols import STEPS


def test_training_calls_train_py_with_everything(checkout):
    result = checkout("sep/base2new_train.sh", "caltech101", 1, "MODEL.BACKBONE.NAME", "my weights/ViT B.pt")
    assert result.returncode == 0, result.stderr
    root, folder = checkout.root, checkout.run_dir(dataset="caltech101", cfg="vit_b16_ep50_batch32")
    assert checkout.called == [
        str(root / "train.py"),
        *("--root", str(root / "data"), "--seed", "1", "--trainer", "SEP"),
        *("--dataset-config-file", str(root / "configs/datasets/caltech101.yaml")),
        *("--config-file", str(root / "configs/trainers/SEP/vit_b16_ep50_batch32.yaml")),
        *("--output-dir", str(folder)),
        *("MODEL.BACKBONE.NAME", "my weights/ViT B.pt"),
        *("DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "base"),
    ]
    assert result.stdout == f"training: {folder}\n"


@pytest.mark.parametrize(("test", "classes"), [("new", "new"), ("joint", "all")])
def test_testing_loads_the_trained_model(checkout, test, classes):
    checkout.checkpoint(50)
    checkout.finish()
    script = {"new": "sep/base2new_test.sh", "joint": "sep/base2new_joint.sh"}[test]
    result = checkout(script, "shapes", 1, "TEST.SAVE_PREDICTIONS", "True")
    assert result.returncode == 0, result.stderr
    where = checkout.called.index("--output-dir")
    assert checkout.called[where:] == [
        *("--output-dir", str(checkout.run_dir(f"base2new/test_{test}"))),
        *("--eval-only", "--model-dir", str(checkout.run_dir())),
        *("TEST.SAVE_PREDICTIONS", "True", "DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", classes),
    ]


@pytest.mark.parametrize(("half", "classes"), [("train", "base"), ("test", "new"), ("joint", "all")])
def test_zero_shot_is_only_tested(checkout, half, classes):
    result = checkout(f"zsclip/base2new_{half}.sh", "shapes", 1)
    assert result.returncode == 0, result.stderr
    assert "--eval-only" in checkout.called and "--model-dir" not in checkout.called
    assert checkout.option("DATASET.SUBSAMPLE_CLASSES") == classes
    part = {"train": "base2new/train_base", "test": "base2new/test_new", "joint": "base2new/test_joint"}[half]
    assert checkout.option("--output-dir") == str(checkout.run_dir(part, trainer="ZeroshotCLIP"))


@pytest.mark.parametrize(
    ("method", "dataset", "cfg"),
    [
        ("sep", "shapes", "shapes"),
        ("sep", "imagenet", "vit_b16_ep10_batch128"),
        ("e2mim", "sun397", "vit_b16_ep10_batch128"),
        ("e2mim", "caltech101", "vit_b16_ep50_batch32"),
        ("coop", "caltech101", "vit_b16_ctxv1"),
    ],
)
def test_default_config(checkout, method, dataset, cfg):
    trainer_of = {row.folder: row.trainer for row in METHODS}
    checkout(f"{method}/base2new_train.sh", dataset, 1)
    assert checkout.option("--config-file").endswith(f"/{trainer_of[method]}/{cfg}.yaml")
    assert f"/{trainer_of[method]}/{cfg}/seed1" in checkout.option("--output-dir")


@pytest.mark.parametrize(
    ("script", "arguments", "cfg"),
    [
        ("base2new_train", ("caltech101",), "vit_b16_ep50_batch32_sep"),
        ("base2new_train", ("sun397",), "vit_b16_ep10_batch128_sep"),
        ("xd_train", ("imagenet",), "vit_b16_ep3_batch32_sep"),
        ("base2new_train", ("shapes",), "shapes_sep"),
    ],
)
def test_what_a_method_wraps_decides_on_its_config(checkout, script, arguments, cfg):
    """So that runs around one method never share a folder with those around another."""
    pair = ("TRAINER.DEPT.BASE", "SEP")
    checkout(f"dept/{script}.sh", *arguments, 1, *pair)
    assert checkout.option("--config-file").endswith(f"/DePT/{cfg}.yaml")
    assert checkout.option("--output-dir").endswith(f"/DePT/{cfg}/seed1") and checkout.option(pair[0]) == "SEP"
    result = checkout(f"dept/{script}.sh", *arguments, 1, *pair, CFG="mine")
    assert result.returncode == 2 and checkout.called is None
    assert "CFG=mine says what DePT wraps, too: leave out TRAINER.DEPT.BASE, or CFG" in result.stderr


def test_a_test_looks_for_the_model_around_the_same_method(checkout):
    pair = ("TRAINER.DEPT.BASE", "SEP")
    where = {"trainer": "DePT", "cfg": "shapes_sep"}
    checkout.checkpoint(15, **where)
    checkout.finish(epoch=15, **where)
    checkout("dept/base2new_test.sh", "shapes", 1, *pair)
    assert checkout.option("--model-dir") == str(checkout.run_dir(**where))
    assert "no trained model in" in checkout("dept/base2new_test.sh", "shapes", 1).stderr


def test_environment_decides_on_folders_config_and_shots(checkout):
    env = {"DATA": "../my data", "OUTPUT": "results", "CFG": "mine", "SHOTS": "4"}
    checkout("sep/base2new_train.sh", "shapes", 2, **env)
    assert checkout.option("--root") == f"{checkout.cwd}/../my data"
    assert checkout.option("--output-dir") == (
        f"{checkout.cwd}/results/base2new/train_base/shapes/shots_4/SEP/mine/seed2"
    )
    assert checkout.option("DATASET.NUM_SHOTS") == "4"


# ---- finished, interrupted, forced -------------------------------------------------------------------------


def test_finished_run_is_skipped(checkout):
    checkout.finish(accuracy=85.126)
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert result.returncode == 0 and checkout.called is None
    assert "finished" in result.stdout and "85.13%" in result.stdout and str(checkout.run_dir()) in result.stdout


def test_finished_with_other_settings_is_for_train_py_to_decide(checkout):
    pairs = ("DATALOADER.NUM_WORKERS", "2")
    checkout.checkpoint(50)
    checkout.finish()
    result = checkout("sep/base2new_train.sh", "shapes", 1, *pairs)
    assert checkout.called and result.stdout.startswith("finished before, with other files or pairs given; ")
    checkout.finish(pairs=pairs)
    assert "finished already" in checkout("sep/base2new_train.sh", "shapes", 1, *pairs).stdout


def test_a_result_of_another_root_is_said_to_be_that(checkout, tmp_path):
    checkout.finish()
    checkout.say({"given": {**checkout.said()["given"], "root": str(tmp_path / "then")}})
    assert f"%, of the data sets in {tmp_path}/then: " in checkout("sep/base2new_train.sh", "shapes", 1).stdout
    (tmp_path / "link").symlink_to(tmp_path / "then")
    for now in (tmp_path / "then", tmp_path / "link"):
        assert "data sets" not in checkout("sep/base2new_train.sh", "shapes", 1, DATA=now).stdout


@pytest.mark.parametrize("step", ["train", "test"])
def test_other_weights_under_the_same_name_are_for_train_py_to_compare(checkout, tmp_path, step):
    (tmp_path / "clip.pt").write_text("1")
    found = os.stat(tmp_path / "clip.pt")
    file = [str(tmp_path / "clip.pt"), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    checkout.checkpoint(50)
    checkout.finish()
    where = {} if step == "train" else {"part": "base2new/test_new"}
    checkout.finish(**{**where, "model_dir": checkout.run_dir() if where else ""})
    checkout.say({"backbone_files": [file]}, **where)
    script = f"sep/base2new_{step}.sh"
    assert "finished already" in checkout(script, "shapes", 1).stdout and not checkout.called
    (tmp_path / "clip.pt").write_text("2")
    checkout(script, "shapes", 1)
    assert checkout.called


def test_a_changed_config_file_is_another_run(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    with open(checkout.root / "configs/trainers/SEP/shapes.yaml", "a", encoding="utf-8") as file:
        file.write("SEED: 3\n")
    checkout("sep/base2new_train.sh", "shapes", 1)
    assert checkout.called


def test_the_result_of_an_epoch_on_the_way_is_not_the_result(checkout):
    checkout.checkpoint(1, 50)
    checkout.finish()
    test = {"part": "base2new/test_new"}
    checkout.finish(epoch=1, model_dir=checkout.run_dir(), **test)
    checkout.say({"trained_epochs": 50, "max_epoch": 50}, **test)
    result = checkout("sep/base2new_test.sh", "shapes", 1)
    assert checkout.called and "the earlier result is of epoch 1, so it is replaced" in result.stdout
    result = checkout("sep/base2new_test.sh", "shapes", 1, LOADEP=1)
    assert not checkout.called and "finished already, accuracy 85.12% of epoch 1 of 50" in result.stdout
    checkout.say({"epoch": 1})
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert checkout.called and "the earlier result is of epoch 1 of 50, so it is replaced" in result.stdout


def test_some_epochs_of_a_training_are_no_training(checkout):
    checkout.checkpoint(3)
    checkout.finish(epoch=3)
    checkout.say({"max_epoch": 50})
    assert "resuming after epoch 3" in checkout("sep/base2new_train.sh", "shapes", 1).stdout
    assert "stopped after epoch 3; finish it first" in checkout("sep/base2new_test.sh", "shapes", 1).stderr


def test_a_test_of_the_best_model_is_of_the_epoch_that_the_training_says(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    best = {"epoch": 12, "trained_epochs": 50, "settings": {"TEST.FINAL_MODEL": "best_val"}}
    test = {"part": "base2new/test_new"}
    checkout.say(best)
    checkout.finish(model_dir=checkout.run_dir(), **test)
    checkout.say(best, **test)
    assert "finished already" in checkout("sep/base2new_test.sh", "shapes", 1).stdout
    checkout.say({"epoch": 1}, **test)
    assert "of epoch 1, so it is replaced" in checkout("sep/base2new_test.sh", "shapes", 1).stdout
    checkout.say({"split": None})  # the training does not say which is the best
    checkout.age(60)
    assert "finished already" in checkout("sep/base2new_test.sh", "shapes", 1).stdout
    checkout.say({"final_model": False}, **test)
    assert "of epoch 1, so it is replaced" in checkout("sep/base2new_test.sh", "shapes", 1).stdout


def test_trained_without_a_test_is_finished_and_can_be_tested(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    path = checkout.run_dir() / "metrics.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**{k: v for k, v in record.items() if k != "accuracy"}, "split": None}))
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert checkout.called is None and "finished already, not tested on the test split" in result.stdout
    assert checkout("sep/base2new_test.sh", "shapes", 1).returncode == 0 and checkout.called


def test_a_result_of_a_test_is_not_a_finished_training(checkout):
    checkout.checkpoint(50)
    checkout.finish(model_dir="/elsewhere")
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert checkout.called and "resuming after epoch 50" in result.stdout


def test_interrupted_run_resumes_and_says_so(checkout):
    checkout.checkpoint(9, 10)
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert "resuming after epoch 10" in result.stdout
    assert checkout.option("--output-dir") == str(checkout.run_dir())
    assert (checkout.run_dir() / "prompt_learner/model.pth.tar-10").exists()


def test_force_deletes_this_run_only(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    other = checkout.run_dir().with_name("seed2")
    other.mkdir()
    result = checkout("sep/base2new_train.sh", "shapes", 1, FORCE=1)
    assert checkout.called and result.stdout.startswith("training:")
    assert not checkout.run_dir().exists() and other.exists()


def test_force_tests_again_without_touching_the_model(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    checkout.finish(part="base2new/test_new")
    checkout("sep/base2new_test.sh", "shapes", 1, FORCE=1)
    assert checkout.called and not checkout.run_dir("base2new/test_new").exists()
    assert (checkout.run_dir() / "metrics.json").exists()


def test_finished_test_is_skipped_unless_the_model_is_newer(checkout):
    checkout.checkpoint(50)
    checkout.finish()
    checkout.finish(part="base2new/test_new", accuracy=70.0, model_dir=checkout.run_dir())
    result = checkout("sep/base2new_test.sh", "shapes", 1)
    assert checkout.called is None and "70.00%" in result.stdout
    checkout.age(-100)
    result = checkout("sep/base2new_test.sh", "shapes", 1)
    assert checkout.called and "newer" in result.stdout


def test_loadep_picks_the_checkpoint(checkout):
    checkout.checkpoint(10, 50)
    checkout.finish()
    checkout("sep/base2new_test.sh", "shapes", 1, LOADEP=10)
    assert checkout.option("--load-epoch") == "10"

    for epoch, runs in ((10, False), (50, True)):  # a result of another epoch is not the one asked for
        checkout.finish(part="base2new/test_new", epoch=epoch, model_dir=checkout.run_dir())
        checkout("sep/base2new_test.sh", "shapes", 1, LOADEP=10)
        assert bool(checkout.called) is runs


def test_testing_before_training_names_the_command(checkout):
    result = checkout("sep/base2new_test.sh", "caltech101", 3)
    assert result.returncode == 1 and checkout.called is None
    assert "bash scripts/sep/base2new_train.sh caltech101 3" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_testing_half_trained_model_is_refused_unless_asked_for(checkout):
    checkout.checkpoint(7)
    result = checkout("sep/base2new_test.sh", "shapes", 1)
    assert result.returncode == 1 and checkout.called is None
    assert "epoch 7" in result.stderr and "base2new_train.sh shapes 1" in result.stderr
    assert checkout("sep/base2new_test.sh", "shapes", 1, LOADEP=7).returncode == 0
    assert checkout.option("--load-epoch") == "7"


# ---- what goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "names", "args"),
    [
        ("base2new_train", "DATASET SEED ", []),
        ("xd_train", "DATASET SEED ", ["imagenet"]),
        ("xd_test", "TARGET SEED ", ["dtd", "1", "OPTIM.LR"]),
        ("few_shot", "DATASET SEED SHOTS ", ["dtd", "1", "OPTIM.LR", "0.1"]),
        ("reproduce", "", ["caltech101"]),
    ],
)
def test_missing_arguments_show_the_usage(checkout, script, names, args):
    result = checkout(f"coop/{script}.sh", *args)
    assert result.returncode == 2 and checkout.called is None
    assert result.stderr == f"usage: bash scripts/coop/{script}.sh {names}[KEY VALUE ...]\n"
    assert checkout(f"coop/{script}.sh", "--help").stdout == result.stderr


@pytest.mark.parametrize(
    ("args", "env", "names"),
    [
        (["Caltech10", "1"], {}, ["Caltech10", "nearest: caltech101;", "oxford_pets, shapes, "]),
        (["shapes", "1"], {"CFG": "min"}, ['config "min"', "configs/trainers/SEP", "nearest: mine"]),
        (["shapes", "one"], {}, ["SEED", "one"]),
        (["shapes", "1"], {"SHOTS": "all"}, ["SHOTS", "all"]),
        (["shapes", "1"], {"LOADEP": "last"}, ["LOADEP", "last"]),
    ],
)
def test_wrong_arguments_are_one_sentence(checkout, args, env, names):
    result = checkout("sep/base2new_train.sh", *args, **env)
    assert result.returncode == 2 and checkout.called is None
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    for name in names:
        assert name in result.stderr


# ---- anything at all ---------------------------------------------------------------------------------------

words = st.one_of(
    st.text("aZ9._-= \n\té漢", max_size=5),
    st.sampled_from(["shapes", "1", "", "-h", "--help", "../shapes", "OPTIM.LR", "\0", "\udcff", "१"]),
)
variables = st.sampled_from(
    ["DATA", "OUTPUT", "CFG", "SHOTS", "SOURCE", "LOADEP", "FORCE", "PROTOCOL", "DATASETS", "SEEDS"]
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@example("reproduce", [], {"CFG": "0"})
@given(
    st.sampled_from([*STEPS, "reproduce"]),
    st.lists(words, max_size=5),
    st.dictionaries(variables, words, max_size=2),
)
def test_any_arguments_end_in_a_run_or_in_one_sentence(checkout, step, args, env):
    checkout.finishes = True
    if any("\0" in value for value in env.values()):  # no environment has it
        return
    result = checkout(f"coop/{step}.sh", *args, **env)
    if result.returncode:
        assert result.returncode in (1, 2) and not checkout.calls
        assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith(("error: ", "usage: "))
    else:
        assert result.stderr == ""
        assert checkout.calls or "finished already" in result.stdout or "usage" in result.stdout


@pytest.mark.parametrize("name", ["../datasets/shapes", "shapes/", "./shapes", "/", "shapes.yaml", "Shapes"])
def test_a_name_is_no_path(checkout, name):
    result = checkout("coop/base2new_train.sh", name, 1)
    assert result.returncode == 2 and f'no data set "{name}"' in result.stderr


def test_an_imported_model_is_tested_not_trained(checkout):
    """tools/import_checkpoint.py leaves its record without a result; once there is one, the run is finished."""
    checkout.checkpoint(50)
    record = {"imported": {"file": "theirs"}, "split": None, "trained_epochs": 50, "max_epoch": 50, "model_dir": ""}
    (checkout.run_dir() / "metrics.json").write_text(json.dumps(record))
    result = checkout("sep/base2new_train.sh", "shapes", 1)
    assert result.stdout == f"testing the imported model: {checkout.run_dir()}\n"
    where = checkout.called.index("--output-dir")
    assert checkout.called[where + 2 : where + 5] == ["--eval-only", "--model-dir", str(checkout.run_dir())]
    assert checkout("sep/base2new_test.sh", "shapes", 1).stdout.startswith("testing: ")
