import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import train
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import NotFinite
from tests.conftest import REPOSITORY

CONFIG = """\
DATALOADER:
  NUM_WORKERS: 0
  TRAIN_X:
    BATCH_SIZE: 2
INPUT:
  SIZE: (8, 8)
  TRANSFORMS: ["normalize"]
OPTIM:
  NAME: "sgd"
  LR: 0.002
  MAX_EPOCH: 2
  WARMUP_CONS_LR: 1e-5
TRAIN:
  PRINT_FREQ: 1
"""


class Tiny(TrainerX):
    """A linear model on the mean colour."""

    hook = staticmethod(lambda epoch: None)  # called in the middle of every epoch

    def build_model(self):
        self.model = nn.Linear(3, self.num_classes)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def model_inference(self, image):
        return self.model(image.mean(dim=(2, 3)))

    def forward_backward(self, batch):
        type(self).hook(self.epoch)
        image, label, _ = self.parse_batch_train(batch)
        loss = nn.functional.cross_entropy(self.model_inference(image), label)
        self.model_backward_and_update(loss)
        return {"loss": loss.item()}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "Tiny", Tiny)
    monkeypatch.delenv("TRACEBACK", raising=False)


@pytest.fixture
def files(tmp_path):
    """A data root with an image folder, and a trainer's config."""
    for split in ("train", "test"):
        for i, name in enumerate(("cat", "dog")):
            folder = tmp_path / "data" / "image_folder" / split / name
            folder.mkdir(parents=True)
            for n in range(2):
                Image.fromarray(np.full((8, 8, 3), 100 * i + n, np.uint8)).save(folder / f"{n}.png")
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path


def arguments(files, *more):
    return [
        *("--root", str(files / "data"), "--trainer", "Tiny", "--output-dir", str(files / "output"), "--seed", "1"),
        *("--config-file", str(files / "tiny.yaml")),
        *("--dataset-config-file", str(REPOSITORY / "configs/datasets/image_folder.yaml")),
        *more,
    ]


@pytest.fixture
def refused(files, capsys):
    """Run a command line that must fail in one line; returns that line."""

    def run(*more, code=2):
        capsys.readouterr()
        assert train.main(arguments(files, *more)) == code
        error = capsys.readouterr().err
        assert re.fullmatch(r"error: .+\n", error), error
        return error

    return run


def setup(files, *more):
    return train.setup_cfg(train.parse_args(arguments(files, *more)))


# ---- config ------------------------------------------------------------------------------------------------


def test_what_wins(files):
    (files / "data.yaml").write_text("DATASET:\n  NUM_SHOTS: 1\nSEED: 7\nOPTIM:\n  LR: 1\n  MAX_EPOCH: 9\n")
    more = ["--dataset-config-file", str(files / "data.yaml")]
    more += ["--transforms", "normalize", "random_flip", "--seed", "0"]
    cfg = setup(files, *more, "OPTIM.LR", "1e-3", "OUTPUT_DIR", "elsewhere", "INPUT.SIZE", "[4, 4]")
    assert cfg.DATASET.NUM_SHOTS == 1  # the data set's file over the defaults
    assert cfg.OPTIM.MAX_EPOCH == 2  # the trainer's file over the data set's
    assert cfg.SEED == 0  # a flag over the files; 0 is a seed too
    assert cfg.OPTIM.LR == 0.001  # a pair over the files
    assert cfg.OUTPUT_DIR == "elsewhere"  # a pair over a flag
    assert cfg.INPUT.SIZE == (4, 4) and cfg.INPUT.TRANSFORMS == ("normalize", "random_flip")
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-5 and cfg.DATASET.NAME == "" and cfg.is_frozen()


def test_numbers_and_text(files):
    cfg = setup(files, "OPTIM.LR", "1", "DATASET.IMAGE_FOLDER", "2024")
    assert cfg.OPTIM.LR == 1.0 and isinstance(cfg.OPTIM.LR, float)
    assert cfg.DATASET.IMAGE_FOLDER == "2024"


@pytest.mark.parametrize(
    "pairs, message",
    [
        (
            ["OPTIM.LRR", "1"],
            "Unknown config key OPTIM.LRR on the command line: the nearest valid keys are OPTIM.LR",
        ),
        (
            ["optim.lr", "1"],
            "Unknown config key optim.lr on the command line: the nearest valid keys are OPTIM.LR",
        ),
        (["OPTIM.LR.X", "1"], "Unknown config key OPTIM.LR.X "),
        (["SEED", "one"], "SEED on the command line is 'one', but must be a whole number."),
        (["SEED", "1.5"], "SEED on the command line is '1.5', but must be a whole number"),
        (["SEED", "True"], "but must be a whole number"),
        (["USE_CUDA", "1"], "but must be True or False"),
        (["OPTIM.LR", "None"], "but must be a number"),
        (["INPUT.SIZE", "64"], 'but must be a list such as "(1, 2)"'),
        (["OPTIM", "1"], "OPTIM on the command line is a section, not a key: the keys in it are NAME, LR"),
        (["OPTIM.LR", "1", "SEED"], "SEED at the end of the command line stands alone"),
        (["OPTIM.LR", "1", "--seed", "3"], "--seed comes after a config key"),
        (["TRAINER.NAME", "tinny"], 'unknown trainer "tinny": did you mean Tiny'),
        (["TRAINER.NAME", ""], "No trainer is given: pass --trainer."),
        (["DATASET.NAME", "Caltech"], 'unknown data set "Caltech": did you mean Caltech101'),
        (["DATASET.NAME", ""], "No data set is given: pass --dataset-config-file."),
        (["RESUME", "nowhere"], "The folder nowhere given with --resume does not exist."),
    ],
)
def test_wrong_settings(refused, files, pairs, message):
    assert message in refused(*pairs)
    assert not (files / "output").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("OPTIM:\n  LRR: 1\n", "Unknown config key OPTIM.LRR in {file}: the nearest valid keys are OPTIM.LR"),
        ("OPTIM:\n  LR: high\n", "OPTIM.LR in {file} is 'high', but must be a number."),
        ("OPTIM: 3\n", "OPTIM in {file} is a section, not a key"),
        ("OPTIM:\n  - LR\n", "OPTIM in {file} is a section, not a key"),
        ("- OPTIM\n", "Config file {file} must hold sections of keys"),
    ],
)
def test_wrong_config_files(refused, files, text, message):
    file = files / "wrong.yaml"
    file.write_text(text)
    assert message.format(file=file) in refused("--config-file", str(file))


def test_missing_config_files(refused, files):
    error = refused("--config-file", str(files / "tinny.yaml"))
    assert f"Config file {files}/tinny.yaml does not exist: nearest: {files}/tiny.yaml." in error
    error = refused("--dataset-config-file", str(REPOSITORY / "configs/dataset/caltech101.yaml"))
    assert f"nearest: {REPOSITORY}/configs/datasets" in error


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model-dir", "."], "--model-dir is for testing: add --eval-only."),
        (["--load-epoch", "2"], "--load-epoch is for testing: add --eval-only."),
        (["--eval-only", "--resume", "."], "--resume goes on with a training"),
        (["--eval-only", "--model-dir", "nowhere"], "nowhere given with --model-dir does not exist"),
    ],
)
def test_flags_that_do_not_fit(refused, flags, message):
    assert message in refused(*flags)


# ---- a run -------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_log_and_config(files, capsys):
    assert train.main(arguments(files)) == 0
    printed = capsys.readouterr().out
    log = (files / "output" / "log.txt").read_text()
    assert log == printed
    for line in ("** Arguments **", "** Config **", "** System info **", "fixed seed: 1", "=> result"):
        assert line in log

    cfg = get_cfg_default()
    cfg.merge_from_file(files / "output" / "config.yaml")
    assert cfg == setup(files)
    assert sorted(os.listdir(files / "output")) == [".lock", "config.yaml", "log.txt", "prompt_learner", "tensorboard"]


def test_eval_only(files, refused, capsys):
    error = refused("--eval-only", code=1)
    assert "--eval-only needs a trained Tiny: name its run's folder with --model-dir." in error
    assert train.main(arguments(files)) == 0
    model = ["--eval-only", "--model-dir", str(files / "output")]
    assert train.main(arguments(files, *model, "--load-epoch", "2", "--output-dir", str(files / "test"))) == 0
    assert "=> result" in (files / "test" / "log.txt").read_text()
    assert "epoch" in refused(*model, "--load-epoch", "7", code=1)


def test_missing_data_root(refused):
    assert "The data root /no/such/folder does not exist" in refused("--root", "/no/such/folder", code=1)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_decoded(refused, files, workers):
    image = files / "data/image_folder/train/dog/1.png"
    image.write_bytes(image.read_bytes()[:40])
    assert str(image) in refused("DATALOADER.NUM_WORKERS", workers, code=1)


def test_interrupted_and_continued(files, monkeypatch, capsys):
    def interrupt(epoch):
        if epoch == 1:
            raise KeyboardInterrupt

    stdout = sys.stdout
    monkeypatch.setattr(Tiny, "hook", interrupt)
    assert train.main(arguments(files, "TRAIN.CHECKPOINT_FREQ", "1")) == 130
    error = capsys.readouterr().err.strip()
    assert error == "interrupted; the same command continues from the last finished epoch"
    assert sys.stdout is stdout  # not the log of the failed run

    epochs = []
    monkeypatch.setattr(Tiny, "hook", epochs.append)
    assert train.main(arguments(files, "TRAIN.CHECKPOINT_FREQ", "1")) == 0
    assert set(epochs) == {1}


def test_a_loss_that_is_not_finite(refused, monkeypatch):
    def explode(epoch):
        raise NotFinite("Loss is infinite or NaN!\nLower the learning rate")

    monkeypatch.setattr(Tiny, "hook", explode)
    assert refused(code=1) == "error: Loss is infinite or NaN! Lower the learning rate\n"


def test_a_bug_keeps_its_stack_trace(files, monkeypatch):
    def bug(epoch):
        torch.zeros(2).view(3, 3)

    monkeypatch.setattr(Tiny, "hook", bug)
    with pytest.raises(RuntimeError):
        train.main(arguments(files))

    monkeypatch.setattr(Tiny, "hook", lambda epoch: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        train.main(arguments(files))

    def bug_in_a_library(epoch):
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=-1)  # a ValueError, but not one of ours

    monkeypatch.setattr(Tiny, "hook", bug_in_a_library)
    with pytest.raises(ValueError, match="Invalid learning rate"):
        train.main(arguments(files))


def test_traceback_on_request(files, monkeypatch, capsys):
    monkeypatch.setenv("TRACEBACK", "1")
    assert train.main(arguments(files, "OPTIM.LRR", "1")) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback") and error.splitlines()[-1].startswith("error: Unknown config key OPTIM.LRR")


# ---- output folder -----------------------------------------------------------------------------------------


def test_a_folder_of_another_experiment_is_refused(files, refused):
    assert train.main(arguments(files)) == 0
    config = (files / "output" / "config.yaml").read_text()

    error = refused("OPTIM.LR", "0.1")
    assert "holds checkpoints of a run with OPTIM.LR 0.002, but this one has 0.1: use another --output-dir" in error
    assert "SEED 1, but this one has 2" in refused("--seed", "2")
    assert (files / "output" / "config.yaml").read_text() == config

    # how and where it runs may change, and so may keys that the older code did not have
    tree = yaml.safe_load(config)
    del tree["OPTIM"]["GAMMA"]
    (files / "output" / "config.yaml").write_text(yaml.safe_dump(tree))
    assert train.main(arguments(files, "TRAIN.PRINT_FREQ", "5", "OPTIM.GAMMA", "0.3")) == 0


def test_testing_in_a_training_folder_keeps_its_config(files):
    assert train.main(arguments(files)) == 0
    config = (files / "output" / "config.yaml").read_text()
    again = ["--eval-only", "--model-dir", str(files / "output"), "--load-epoch", "2"]
    again += ["DATALOADER.TEST.BATCH_SIZE", "1"]
    assert train.main(arguments(files, *again)) == 0
    assert (files / "output" / "config.yaml").read_text() == config


def test_a_folder_without_checkpoints_is_free(files):
    assert train.main(arguments(files, "--no-train")) == 0
    assert train.main(arguments(files, "--no-train", "OPTIM.LR", "0.1")) == 0
    assert yaml.safe_load((files / "output" / "config.yaml").read_text())["OPTIM"]["LR"] == 0.1


def test_two_processes_in_one_folder(refused, files):
    hold = "import sys; from harness.running.lock import locked\nwith locked(sys.argv[1]): print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(files / "output")]
    other = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    assert f"{files}/output is in use by process {other.pid} on " in refused(code=1)
    other.communicate(b"\n")
    assert train.main(arguments(files)) == 0


# ---- the command itself ------------------------------------------------------------------------------------


def test_the_log_says_how_threads_wait(files):
    """Briefly, unless the user has said something: tests/harness/test_start.py."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, str(REPOSITORY / "train.py"), *arguments(files, "--trainer", "ZeroshotCLIP")]
    subprocess.run(command, capture_output=True, env={**environ, "OMP_NUM_THREADS": "2"})
    line = "CPU threads: 2, GOMP_SPINCOUNT=1000, OMP_NUM_THREADS=2"
    assert line in (files / "output" / "log.txt").read_text().splitlines()


def test_the_command_from_any_folder(files):
    command = [sys.executable, str(REPOSITORY / "train.py"), *arguments(files, "--trainer", "SEPP")]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        r'error: unknown trainer "SEPP": did you mean .*SEP.* Known: .*CoOp.*ZeroshotCLIP\n', done.stderr
    )
