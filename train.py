"""Train and test one trainer on one data set. The flags are those of CoOp's train.py.

    python train.py --root DATA --seed 1 --trainer CoOp --output-dir output/my_run \\
        --dataset-config-file configs/datasets/caltech101.yaml \\
        --config-file configs/trainers/CoOp/FILE.yaml DATASET.NUM_SHOTS 16

Settings come from the defaults, the data set's file, the trainer's file, the flags and the KEY VALUE pairs;
the later of these win. A run that was interrupted continues when the same command is given again, and a folder that
holds a run of other settings is refused.

Exit code: 0 done; 1 the run failed; 2 the command line or a config is wrong; 130 interrupted. What a user can
mend is one line on stderr; TRACEBACK=1 in the environment adds the stack trace.
"""

# ruff: noqa: E402  imports behind a statement
import gc

gc.disable()  # until all is imported: imports leave nothing to collect, and each collection walks through everything

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which `python -P` leaves out
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
import contextlib

import torch

import datasets
import own_methods
import trainers
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import (
    MissingFile,
    UserError,
    check_availability,
    collect_env_info,
    import_all,
    set_random_seed,
    setup_logger,
    write_whole,
)
from harness import records
from harness.command_line import given, parse_args
from harness.config import merge_args
from harness.errors import exit_with, fail
from harness.report.measure import measure_of
from harness.running.claim import claim, refuse_loaded
from harness.running.lock import Locked, locked
from trainers import keys
from trainers.backbone.clip_loader import frozen_clip
from trainers.base import PromptTrainer
from trainers.files.whole_files import disk_errors
from trainers.precision import Precision
from trainers.remedies import remedies_of
from trainers.run.experiment import nodes_of, settings_of

import_all(trainers)
import_all(datasets)
gc.freeze()  # what has been imported stays: no collection looks at it again
gc.enable()


LATER = ("torch.utils.tensorboard", "sklearn.metrics")  # what a run imports when it first needs it; for worker.py


# ---- config ------------------------------------------------------------------------------------------------


def setup_cfg(args):
    """The frozen config of a command line. Raises ValueError and FileNotFoundError."""
    own_methods.load([args.trainer] if args.trainer else [])
    cfg = get_cfg_default()
    merge_args(cfg, args)
    cfg.freeze()
    return cfg


def check_choices(args, cfg):
    """Raise ValueError or FileNotFoundError for what can be known to be wrong before anything is built."""
    for name, registry, what, option in (
        (cfg.TRAINER.NAME, TRAINER_REGISTRY, "trainer", "--trainer"),
        (cfg.DATASET.NAME, DATASET_REGISTRY, "data set", "--dataset-config-file"),
    ):
        if not name:
            raise UserError(f"No {what} is given: pass {option}.")
        check_availability(name, registry.registered_names(), kind=what)
    keys.check(cfg)
    if args.eval_only and cfg.RESUME:
        raise UserError("--resume goes on with a training: leave it out, or leave out --eval-only.")
    for given_too, option in ((args.model_dir, "--model-dir"), (args.load_epoch is not None, "--load-epoch")):
        if given_too and not args.eval_only:
            raise UserError(
                f"{option} is for testing: add --eval-only. To train from given prompts set MODEL.INIT_WEIGHTS; to go "
                "on with a run of the same settings in another folder use --resume."
            )
    for folder, option in ((args.model_dir, "--model-dir"), (cfg.RESUME, "--resume")):
        if folder and not os.path.isdir(folder):
            raise MissingFile(f"The folder {folder} given with {option} does not exist.")


# ---- running -----------------------------------------------------------------------------------------------


def print_args(args, cfg):
    line = "*" * 15
    print(f"{line}\n** Arguments **\n{line}")
    for key, value in sorted(vars(args).items()):
        print(f"{key}: {value}")
    line = "*" * 12
    print(f"{line}\n** Config **\n{line}\n{cfg}")


def run(args, cfg):
    setup_logger(cfg.OUTPUT_DIR)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
    print_args(args, cfg)
    print("Collecting env info ...")
    print(f"** System info **\n{collect_env_info()}\n")

    trainer = build_trainer(cfg)
    trainer.measure = measure_of(cfg.OUTPUT_DIR, remedies_of(trainer, args.model_dir, args.load_epoch))
    trainer.facts = {"given": given(args)}  # recorded with the result: harness/running/launch.py compares it
    if args.eval_only:
        if not args.model_dir and getattr(trainer, "optim", None) is not None:
            raise UserError(f"--eval-only needs a trained {cfg.TRAINER.NAME}: name its run's folder with --model-dir.")
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        if isinstance(trainer, PromptTrainer):
            refuse_loaded(cfg.OUTPUT_DIR, args.model_dir, trainer.checkpoints.at.settings)
        trainer.test()
    elif not args.no_train:
        trainer.train()


def main(argv=None):
    """Run a command line (`sys.argv` by default); returns the exit code."""
    args = parse_args(argv)
    try:
        cfg = setup_cfg(args)
        check_choices(args, cfg)
    except Exception as error:
        return fail(error, 2)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(cfg.OUTPUT_DIR))
        except Locked as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            reason = f"Cannot write to {cfg.OUTPUT_DIR} ({error.strerror})"
            print(f"error: {reason}: pass another folder with --output-dir.", file=sys.stderr)
            return 2
        return main_locked(args, cfg)


def main_locked(args, cfg):
    """Run a command line, alone in its OUTPUT_DIR; returns the exit code."""
    try:
        finished, is_free = claim(
            args,
            cfg,
            lambda: settings_of(cfg, nodes_of(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), cfg)),
            lambda: frozen_clip(cfg, Precision("fp32", "cpu"), torch.device("cpu"))[1]["weights"],
        )
        if is_free:
            write_whole(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), lambda file: file.write(cfg.dump()))
    except Exception as error:
        return fail(error, 2)
    if finished:
        print(records.finished_already(cfg.OUTPUT_DIR, finished, args.root))
        return 0

    trains, console = not (args.eval_only or args.no_train), sys.stdout
    try:
        with disk_errors(cfg.OUTPUT_DIR):
            run(args, cfg)
    except KeyboardInterrupt:
        rest = "; the same command continues from the last finished epoch" if trains else ""
        print(f"\ninterrupted{rest}", file=sys.stderr)
        return 130
    except Exception as error:
        return fail(error, 1)
    finally:
        sys.stdout = console  # setup_logger put the log in its place
    return 0


if __name__ == "__main__":
    exit_with(main)
