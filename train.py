"""Train and test one trainer on one data set. The flags are those of CoOp's train.py.

    python train.py --root DATA --seed 1 --trainer CoOp --output-dir output/my_run \\
        --dataset-config-file configs/datasets/caltech101.yaml \\
        --config-file configs/trainers/CoOp/FILE.yaml DATASET.NUM_SHOTS 16

Settings come from the defaults, the data set's file, the trainer's file, the flags and the KEY VALUE pairs;
the later of these win. A run that was interrupted continues when the same command is given again.

Exit code: 0 done; 1 the run failed; 2 the command line or a config is wrong; 130 interrupted. What a user can
mend is one line on stderr; TRACEBACK=1 in the environment adds the stack trace.
"""

import argparse
import ast
import difflib
import glob
import importlib
import linecache
import os
import pkgutil
import re
import sys
import traceback

import torch
import yaml
from yacs.config import CfgNode

import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import check_availability, collect_env_info, set_random_seed, setup_logger

REPOSITORY = os.path.dirname(os.path.abspath(__file__))
USER_ERRORS = (ValueError, FileNotFoundError, FloatingPointError)

# What may change between two commands that continue one run: where and how it runs, not what it computes.
NOT_THE_EXPERIMENT = {
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST.BATCH_SIZE",
    "DATASET.ROOT",
    "OUTPUT_DIR",
    "RESUME",
    "TEST.COMPUTE_CMAT",
    "TEST.NO_TEST",
    "TEST.PER_CLASS_RESULT",
    "TEST.SAVE_PREDICTIONS",
    "TEST.SPLIT",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.PRINT_FREQ",
    "USE_CUDA",
    "VERBOSE",
    "VERSION",
}

TYPE_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: 'a list such as "[1, 2]"',
    tuple: 'a list such as "(1, 2)"',
}


def import_all(package):
    """Import every module and subpackage of `package`, so that each registers what it defines."""
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)


import_all(trainers)
import_all(datasets)


def parse_args(argv=None):
    path = os.path.expanduser
    parser = argparse.ArgumentParser(description="Train and test one trainer on one data set.")
    parser.add_argument("--root", type=path, default="", help="folder that holds the data sets")
    parser.add_argument("--output-dir", type=path, default="", help="folder for the results of this run")
    parser.add_argument("--resume", type=path, default="", help="folder of the run to continue from")
    parser.add_argument("--seed", type=int, help="seed of all random numbers (none if negative)")
    parser.add_argument("--source-domains", nargs="+", metavar="DOMAIN", help="domains to train on")
    parser.add_argument("--target-domains", nargs="+", metavar="DOMAIN", help="domains to test on")
    parser.add_argument("--transforms", nargs="+", metavar="NAME", help="image transforms")
    parser.add_argument("--config-file", type=path, default="", help="config of the trainer")
    parser.add_argument("--dataset-config-file", type=path, default="", help="config of the data set")
    parser.add_argument("--trainer", default="", help="name of the trainer, such as SEP")
    parser.add_argument("--backbone", default="", help="CLIP to use: a name or the path of a weights file")
    parser.add_argument("--head", default="", help="head on top of the backbone (no trainer here has one)")
    parser.add_argument("--eval-only", action="store_true", help="only test")
    parser.add_argument("--model-dir", type=path, default="", help="with --eval-only: the run to test")
    parser.add_argument("--load-epoch", type=int, help="with --eval-only: the epoch to test")
    parser.add_argument("--no-train", action="store_true", help="build everything, then stop")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    return parser.parse_args(argv)


# ---- config ------------------------------------------------------------------------------------------------


def setup_cfg(args):
    """The frozen config of a command line. Raises ValueError and FileNotFoundError."""
    cfg = get_cfg_default()
    for file in (args.dataset_config_file, args.config_file):
        if file:
            for key, value in flatten(read_config(file)):
                merge(cfg, key, value, f"in {file}")

    flags = {
        "DATASET.ROOT": args.root,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
        "OUTPUT_DIR": args.output_dir,
        "RESUME": args.resume,
        "SEED": args.seed,
        "TRAINER.NAME": args.trainer,
    }
    for key, value in flags.items():
        if value not in (None, ""):
            merge(cfg, key, value, "on the command line")

    stray = next((opt for opt in args.opts if opt.startswith("--")), None)
    if stray:
        raise ValueError(f"{stray} comes after a config key: give all flags before the first KEY VALUE pair.")
    if len(args.opts) % 2:
        raise ValueError(
            f"{args.opts[-1]} at the end of the command line stands alone: give keys and values in pairs, "
            "and quote values that contain spaces."
        )
    for key, value in zip(args.opts[::2], args.opts[1::2]):
        merge(cfg, key, value, "on the command line")
    cfg.freeze()
    return cfg


def read_config(file):
    """The nested dict in a YAML file. Raises FileNotFoundError, naming the nearest files, and ValueError."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"Config file {file} does not exist: {_nearest_files(file)}.")
    try:
        with open(file, encoding="utf-8") as f:
            tree = yaml.safe_load(f)
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ValueError(f"Config file {file} is not valid YAML: {_one_line(e)}.") from None
    if not isinstance(tree, (dict, type(None))):
        raise ValueError(f"Config file {file} must hold sections of keys, but it holds {tree!r:.60}.")
    return tree or {}


def _nearest_files(file):
    """What there is in the folder of `file`, or in the nearest folder above it that exists."""
    name, folder = os.path.basename(file), os.path.dirname(file) or "."
    while not os.path.isdir(folder):
        name, folder = os.path.basename(folder), os.path.dirname(folder) or "."
    near = difflib.get_close_matches(name, sorted(os.listdir(folder)), n=3, cutoff=0.3)
    if not near:
        return f"{folder} has nothing like it"
    return f"nearest: {', '.join(os.path.join(folder, n) for n in near)}"


def flatten(tree, prefix=""):
    """The (dotted key, value) pairs of a nested dict, in its order."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge(cfg, key, value, where):
    """Set the dotted `key` of `cfg` to `value`; a string that is a Python literal is read as yacs does.

    `where` says where the setting stands ("in FILE"). Raises ValueError for an unknown key or a wrong type.
    """
    *sections, leaf = key.split(".")
    node = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or leaf not in node:
        known = {k.upper(): k for k, _ in flatten(cfg)}
        near = [known[k] for k in difflib.get_close_matches(key.upper(), known, n=3, cutoff=0)]
        raise ValueError(f"Unknown config key {key} {where}: the nearest valid keys are {', '.join(near)}.")

    old = node[leaf]
    if isinstance(old, CfgNode):
        if value is not None:  # None: a heading in a file with nothing below it
            raise ValueError(f"{key} {where} is a section, not a key: the keys in it are {', '.join(old)}.")
        return
    new = _literal(value)
    if isinstance(old, str) and isinstance(value, str) and not isinstance(new, str):
        new = value  # text that looks like a number
    elif isinstance(old, float) and type(new) is int:
        new = float(new)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        new = type(old)(new)
    if old is not None and type(new) is not type(old):
        raise ValueError(f"{key} {where} is {value!r}, but must be {TYPE_NAMES.get(type(old), type(old).__name__)}.")
    node[leaf] = new


def _literal(value):
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def check_choices(args, cfg):
    """Raise ValueError or FileNotFoundError for what can be known to be wrong before anything is built."""
    for name, registry, what, option in (
        (cfg.TRAINER.NAME, TRAINER_REGISTRY, "trainer", "--trainer"),
        (cfg.DATASET.NAME, DATASET_REGISTRY, "data set", "--dataset-config-file"),
    ):
        if not name:
            raise ValueError(f"No {what} is given: pass {option}.")
        check_availability(name, registry.registered_names(), kind=what)
    for folder, option in ((args.model_dir, "--model-dir"), (cfg.RESUME, "--resume")):
        if folder and not os.path.isdir(folder):
            raise FileNotFoundError(f"The folder {folder} given with {option} does not exist.")


# ---- output folder -----------------------------------------------------------------------------------------


def claim_output_dir(cfg, trains):
    """Write the merged config to OUTPUT_DIR/config.yaml.

    A folder with checkpoints keeps its config: training there again continues from them, so it must be the
    same experiment (ValueError if not), and testing there must not put its own settings in their place.
    """
    file = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    if glob.glob(os.path.join(glob.escape(cfg.OUTPUT_DIR), "*", "model*.pth.tar*")) and os.path.isfile(file):
        if not trains:
            return
        earlier, now = dict(flatten(read_config(file))), dict(flatten(yaml.safe_load(cfg.dump())))
        for key, value in now.items():
            if key in earlier and key not in NOT_THE_EXPERIMENT and earlier[key] != value:
                raise ValueError(
                    f"{cfg.OUTPUT_DIR} holds checkpoints of a run with {key} {earlier[key]!r}, but this one "
                    f"has {value!r}: use another --output-dir, or delete that folder (scripts: FORCE=1) to start over."
                )
    temporary = f"{file}.{os.getpid()}.tmp"
    try:
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as f:
            f.write(cfg.dump())
        os.replace(temporary, file)
    except OSError as e:
        raise ValueError(
            f"Cannot write to {cfg.OUTPUT_DIR} ({e.strerror}): pass another folder with --output-dir."
        ) from None


def print_args(args, cfg):
    line = "*" * 15
    print(f"{line}\n** Arguments **\n{line}")
    for key, value in sorted(vars(args).items()):
        print(f"{key}: {value}")
    line = "*" * 12
    print(f"{line}\n** Config **\n{line}\n{cfg}")


# ---- running -----------------------------------------------------------------------------------------------


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
    if args.eval_only:
        if not args.model_dir and getattr(trainer, "optim", None) is not None:
            raise ValueError(f"--eval-only needs a trained {cfg.TRAINER.NAME}: name its run's folder with --model-dir.")
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    elif not args.no_train:
        trainer.train()


def user_error(error):
    """The sentence to show for `error`; None if our code did not raise it for the user (a bug, then)."""
    if not isinstance(error, USER_ERRORS):
        return None
    text, frame = str(error), traceback.extract_tb(error.__traceback__)[-1]
    file, line = frame.filename, frame.lineno
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch: raised in a data loader's worker
        file, line = re.findall(r'^ *File "(.+)", line (\d+)', text, flags=re.MULTILINE)[-1]
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    parts = os.path.relpath(file, REPOSITORY).split(os.sep)
    ours = parts[0] != os.pardir and "site-packages" not in parts  # .venv may be inside
    # int("x") in our code is a ValueError as well, but a bug
    raised = linecache.getline(file, int(line)).lstrip().startswith("raise ")
    return _one_line(text) if ours and raised else None


def _one_line(text):
    return " ".join(str(text).split())


def fail(error, code):
    """Print the sentence of a user's error and return `code`; raise any other error again."""
    sentence = user_error(error)
    if sentence is None:
        raise error
    if os.environ.get("TRACEBACK"):
        traceback.print_exception(type(error), error, error.__traceback__)
    print(f"error: {sentence}", file=sys.stderr)
    return code


def main(argv=None):
    """Run a command line (`sys.argv` by default); returns the exit code."""
    args = parse_args(argv)
    trains = not (args.eval_only or args.no_train)
    try:
        cfg = setup_cfg(args)
        check_choices(args, cfg)
        claim_output_dir(cfg, trains)
    except USER_ERRORS as error:
        return fail(error, 2)

    console = sys.stdout
    try:
        run(args, cfg)
    except KeyboardInterrupt:
        rest = "; the same command continues from the last finished epoch" if trains else ""
        print(f"\ninterrupted{rest}", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        return fail(error, 1)
    finally:
        sys.stdout = console  # setup_logger put the log in its place
    return 0


if __name__ == "__main__":
    sys.exit(main())
