"""Kill runs at random moments, again and again, and see that they end as if nothing had happened.

    python -m tests.torture --sequences 100 [--seed 3]

Each sequence is a run of a method, all in turn, that is killed (SIGKILL) a few times and then left to end. Its
checkpoint must be that of an undisturbed run to the last bit, its result the same, and no temporary file may be left.
Runs are forks of this process, which has imported everything, so that a sequence takes seconds.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import train
from harness import records
from tests.conftest import REPOSITORY
from tests.golden.formula import clip_state_dict
from tests.tiny import GEOMETRY
from tests.trainers.methods import METHODS

EPOCHS = 4
KILLS = 4  # at most, a sequence


class Ground:
    """Data and weights of toy size, and undisturbed runs to compare with."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.weights = str(self.folder / "clip.pt")
        torch.save(clip_state_dict(g=GEOMETRY), self.weights)
        rng = np.random.RandomState(0)
        for split in ("train", "val", "test"):
            for label in range(4):
                images = self.folder / "image_folder" / split / f"class {label}"
                images.mkdir(parents=True)
                for i in range(8):
                    pixels = rng.normal(60 * label, 25, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(images / f"{i}.png")
        self.undisturbed = {}
        teacher = self.start(METHODS["zsclip"], "last_step", 0, self.folder / "teacher")
        assert os.waitpid(teacher, 0)[1] == 0, "zero-shot CLIP, PromptKD's teacher here, failed"

    def arguments(self, method, final_model, views, output):
        return [
            *("--root", str(self.folder), "--trainer", method.trainer, "--seed", "1", "--output-dir", str(output)),
            *("--dataset-config-file", str(REPOSITORY / "configs/datasets/image_folder.yaml")),
            *("--backbone", self.weights, "MODEL.BACKBONE.ACTIVATION", "quickgelu"),
            *("INPUT.SIZE", "(32, 32)", "OPTIM.MAX_EPOCH", str(EPOCHS)),
            *("INPUT.TRANSFORMS", "['random_resized_crop', 'random_flip', 'normalize']", "OPTIM.LR", "0.002"),
            *("DATALOADER.NUM_WORKERS", "0", "DATALOADER.TRAIN_X.BATCH_SIZE", "8", "DATASET.NUM_SHOTS", "4"),
            *("TEST.FINAL_MODEL", final_model, *map(str, method.options), "DATALOADER.STORED_VIEWS", str(views)),
            *("TRAINER.PROMPTKD.TEACHER", str(self.folder / "teacher")),  # no setting of other methods
        ]

    def start(self, *run):
        """Fork a process that does a run, silently; returns its id."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                code = train.main(self.arguments(*run))
        finally:
            os._exit(code)

    def whole(self, *what):
        """(folder, seconds) of an undisturbed run."""
        if what not in self.undisturbed:
            folder = self.folder / f"whole{len(self.undisturbed)}"
            start = time.time()
            _, status = os.waitpid(self.start(*what, folder), 0)
            assert status == 0, f"an undisturbed run of {what[0].trainer} failed"
            self.undisturbed[what] = folder, time.time() - start
            shutil.rmtree(self.folder / "feature_store", ignore_errors=True)  # the others start without
        return self.undisturbed[what]

    def sequence(self, rng, method, number):
        """Do one; returns how often it was killed. Raises AssertionError."""
        what = method, rng.choice(["last_step", "best_val"]), rng.choice([0, 2])
        whole, seconds = self.whole(*what)
        cut, killed = self.folder / f"cut{number}", 0
        for _ in range(rng.randint(1, KILLS)):
            pid = self.start(*what, cut)
            time.sleep(rng.random() * seconds)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            killed += os.WIFSIGNALED(status)
        _, status = os.waitpid(self.start(*what, cut), 0)
        assert status == 0, f"{method.trainer} ended with {status} after {killed} kills"
        compare(whole, cut)
        return killed


def compare(whole, cut):
    """Raise AssertionError unless two runs have left the same."""
    for name in ("prompt_learner", "."):
        left = sorted(path.name for path in (cut / name).iterdir() if path.suffix != ".damaged")
        assert left == sorted(path.name for path in (whole / name).iterdir()), left
    for path in (whole / "prompt_learner").glob("model*"):
        ours, theirs = (
            torch.load(f, weights_only=True)["state_dict"] for f in (cut / "prompt_learner" / path.name, path)
        )
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert torch.equal(ours[key], value), f"{path.name}: {key} differs"
    results = [records.read_record(folder) for folder in (whole, cut)]
    assert results[0]["accuracy"] == results[1]["accuracy"] and results[0]["epoch"] == results[1]["epoch"]


def torture(sequences, seed):
    rng, kills = random.Random(seed), 0
    print(f"seed {seed}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(folder)
        methods = [row for row in METHODS.values() if row.learns]
        rng.shuffle(methods)
        for number in range(sequences):
            kills += ground.sequence(rng, methods[number % len(methods)], number)
    print(f"{sequences} sequences, {kills} kills: all ended as undisturbed runs do")
    return kills


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of methods and moments (printed)")
    args = parser.parse_args(argv)
    torture(args.sequences, args.seed)


if __name__ == "__main__":
    main()
