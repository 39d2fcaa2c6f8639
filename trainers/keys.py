"""What every config key may be: one table for Dassl's keys, and a place where methods declare theirs.

A method declares a key once, with default and range (`DEFAULTS.W = Key(8.0, at_least(0))`); the check before a run, its
message and docs/config.md are made from that.
"""

import math
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from yacs.config import CfgNode as CN

from dassl.config.defaults import _C

from .errors import UserError
from .precision import ENCODER_DTYPES


class Range(NamedTuple):
    """`text` completes "must be ..."."""

    text: str
    fits: Callable[[Any], bool]


class Key(NamedTuple):
    """A config key's default and its range; None: any value of the default's type."""

    default: Any
    range: Optional[Range] = None


# ---- ranges ------------------------------------------------------------------------------------------------


LEAST, MOST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # float32's, which numbers become; the least is not denormal


def is_number(value) -> bool:
    if isinstance(value, float):
        return value == 0 or LEAST <= abs(value) <= MOST
    return is_whole(value)


def is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def at_least(least: float) -> Range:
    return Range(f"{least} or more", lambda value: is_number(value) and value >= least)


def above(bound: float) -> Range:
    return Range(f"more than {bound}", lambda value: is_number(value) and value > bound)


def above_to(bound: float, most: float) -> Range:
    text = f"more than {bound} and {most} or less"
    return Range(text, lambda value: is_number(value) and bound < value <= most)


def between(least: float, most: float) -> Range:
    return Range(f"from {least} to {most}", lambda value: is_number(value) and least <= value <= most)


def from_below(least: float, bound: float) -> Range:
    text = f"{least} or more and less than {bound}"
    return Range(text, lambda value: is_number(value) and least <= value < bound)


def one_of(*choices) -> Range:
    return Range(" or ".join(map(str, choices)), lambda value: value in choices)


def several(n: Optional[int], each: Range, distinct: bool = False) -> Range:
    """A list of `n` (None: any number) values that each fit."""

    def fits(values):
        right = isinstance(values, (list, tuple)) and n in (None, len(values)) and all(map(each.fits, values))
        return right and not (distinct and len(set(values)) < len(values))

    return Range(f"{n or 'a list of'}{' different' if distinct else ''} values, each {each.text}", fits)


NAMES = Range("a name", lambda value: isinstance(value, str))
SOME_NAMES = several(None, NAMES, distinct=True)
# Paths that only a training reads, so that a test does without. Of a run's settings, a checksum of what lies there is a
# part in their place (run/experiment.py)
TRAINING_FILE = Range("a path, or empty", NAMES.fits)  # of a file
RUN_FOLDER = Range("a path, or empty", NAMES.fits)  # of a run's folder
# Of a file that says something about the classes at hand. Tests read it as well, of other data sets another one; its
# checksum counts as above
CLASS_FILE = Range("a path, or empty", NAMES.fits)


def whole(least: int, most: float = math.inf) -> Range:
    text = f"a whole number, {least} or more" if most == math.inf else f"a whole number from {least} to {most}"
    return Range(text, lambda value: is_whole(value) and least <= value <= most)


TOKENS = whole(1, 1024)  # more than any encoder takes, less than memory does
WEIGHT = at_least(0)
# -1 stands for the one that a method's authors have for the data set
WEIGHT_OR_AUTHORS = Range("0 or more, or -1", lambda value: is_number(value) and (value >= 0 or value == -1))
WIDTH = whole(1, 65536)
LAYERS = several(None, whole(0), distinct=True)
WHOLE = Range("a whole number", is_whole)
FASTEST = 1_000_000  # learning rate; also over 1 minus Adam's momentum, as its steps are, float32 holds it

# ---- Dassl's keys ------------------------------------------------------------------------------------------

SAMPLERS = one_of("RandomSampler", "SequentialSampler", "RandomDomainSampler", "SeqDomainSampler", "RandomClassSampler")

# A key that is not listed takes any value of its default's type.
RANGES: Dict[str, Range] = {
    "SEED": between(-(2**31), 2**32 - 1),  # NumPy's largest; below 0 means none
    "INPUT.SIZE": several(2, whole(1)),
    "INPUT.INTERPOLATION": one_of("bilinear", "bicubic", "nearest"),
    "INPUT.TRANSFORMS": SOME_NAMES,
    "INPUT.NO_TRANSFORM": one_of(False),  # the encoders take tensors
    "INPUT.PIXEL_MEAN": several(3, Range("a number", is_number)),
    "INPUT.PIXEL_STD": several(3, above(0)),
    "INPUT.CROP_PADDING": whole(0, 1024),
    "INPUT.RRCROP_SCALE": Range(
        "two numbers, 0 < least <= most <= 1",
        lambda scale: several(2, between(0, 1)).fits(scale) and 0 < scale[0] <= scale[1],
    ),
    "INPUT.CUTOUT_N": whole(1, 1024),
    "INPUT.CUTOUT_LEN": whole(1),
    "INPUT.GN_STD": at_least(0),
    "INPUT.RANDAUGMENT_N": whole(1, 100),
    "INPUT.RANDAUGMENT_M": whole(0, 30),
    "INPUT.COLORJITTER_B": at_least(0),
    "INPUT.COLORJITTER_C": at_least(0),
    "INPUT.COLORJITTER_S": at_least(0),
    "INPUT.COLORJITTER_H": between(0, 0.5),
    "INPUT.RGS_P": between(0, 1),
    "INPUT.GB_P": between(0, 1),
    "INPUT.GB_K": Range("odd and 1 or more", lambda value: WHOLE.fits(value) and value >= 1 and value % 2 == 1),
    "DATASET.NUM_SHOTS": at_least(-1),  # below 1 means all images
    "DATASET.SOURCE_DOMAINS": SOME_NAMES,
    "DATASET.TARGET_DOMAINS": SOME_NAMES,
    "DATALOADER.NUM_WORKERS": between(0, 1024),
    "DATALOADER.K_TRANSFORMS": whole(1),  # how many a method takes, its trainer says (`most_views`)
    "DATALOADER.TRAIN_X.SAMPLER": SAMPLERS,
    "DATALOADER.TRAIN_X.BATCH_SIZE": at_least(1),
    "DATALOADER.TRAIN_X.N_DOMAIN": at_least(0),
    "DATALOADER.TRAIN_X.N_INS": at_least(1),
    "DATALOADER.TEST.SAMPLER": one_of("SequentialSampler", "RandomSampler"),  # each image once
    "DATALOADER.TEST.BATCH_SIZE": at_least(1),
    "OPTIM.NAME": one_of("adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"),
    "OPTIM.LR": above_to(0, FASTEST),
    "OPTIM.WEIGHT_DECAY": at_least(0),
    "OPTIM.MOMENTUM": from_below(0, 1),
    "OPTIM.SGD_DAMPNING": between(0, 1),
    "OPTIM.RMSPROP_ALPHA": from_below(0, 1),
    "OPTIM.ADAM_BETA1": from_below(0, 1),
    "OPTIM.ADAM_BETA2": from_below(0, 1),
    "OPTIM.NEW_LAYERS": SOME_NAMES,
    "OPTIM.BASE_LR_MULT": between(0, FASTEST),
    "OPTIM.LR_SCHEDULER": one_of("single_step", "multi_step", "cosine"),
    "OPTIM.STEPSIZE": Range(
        "whole numbers, ascending",
        lambda steps: several(None, WHOLE, True).fits(steps) and sorted(steps) == list(steps),
    ),
    "OPTIM.GAMMA": above_to(0, 1),
    "OPTIM.MAX_EPOCH": at_least(1),
    "OPTIM.WARMUP_EPOCH": at_least(-1),  # below 1 means none
    "OPTIM.WARMUP_TYPE": one_of("linear", "constant"),
    "OPTIM.WARMUP_CONS_LR": between(0, FASTEST),
    "OPTIM.WARMUP_MIN_LR": between(0, FASTEST),
    "TRAIN.CHECKPOINT_FREQ": at_least(-1),  # below 1 means none but the last two
    "TRAIN.PRINT_FREQ": at_least(1),
    "TRAIN.COUNT_ITER": one_of("train_x", "train_u", "smaller_one"),
    "TEST.EVALUATOR": one_of("Classification"),
    "TEST.SPLIT": one_of("test", "val"),
    "TEST.FINAL_MODEL": one_of("last_step", "best_val"),
}


TRAINING_FILES: Set[str] = set()  # keys whose range is TRAINING_FILE
CLASS_FILES: Set[str] = set()  # keys whose range is CLASS_FILE
RUN_FOLDERS: Set[str] = set()  # keys whose range is RUN_FOLDER


def declare(key: str, allowed: Optional[Range]) -> None:
    """Add a method's key (dotted) with its range; None: any value of its default's type."""
    if allowed is not None:
        RANGES[key] = allowed
    if allowed is TRAINING_FILE:
        TRAINING_FILES.add(key)
    if allowed is CLASS_FILE:
        CLASS_FILES.add(key)
    if allowed is RUN_FOLDER:
        RUN_FOLDERS.add(key)


def check(cfg: Mapping[str, Any]) -> None:
    """Raise ValueError, naming key, value and range, for the first key of a config that is out of its range."""
    values = dict(flatten(cfg))
    for key, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            _check_number(key, number)
        if key in RANGES and not RANGES[key].fits(value):
            shown = f"{value!r:.100}" + "..." * (len(repr(value)) > 100)
            raise UserError(f"{key} is {shown}, but must be {RANGES[key].text}.")
        if isinstance(value, str) and not _is_text(value):
            raise UserError(f"{key} is {value!r}, which is no text (UTF-8): give another name or folder.")
    if cfg["OPTIM"]["SGD_NESTEROV"] and (cfg["OPTIM"]["MOMENTUM"] == 0 or cfg["OPTIM"]["SGD_DAMPNING"] != 0):
        raise UserError("OPTIM.SGD_NESTEROV needs OPTIM.MOMENTUM above 0 and OPTIM.SGD_DAMPNING 0.")
    if cfg["DATALOADER"].get("STORED_VIEWS") and cfg["SEED"] < 0:
        raise UserError("DATALOADER.STORED_VIEWS are drawn from the seed: set SEED to 0 or more (--seed).")
    side = min(cfg["INPUT"]["SIZE"])
    if "gaussian_blur" in cfg["INPUT"]["TRANSFORMS"] and cfg["INPUT"]["GB_K"] // 2 >= side:
        raise UserError(f"INPUT.GB_K is {cfg['INPUT']['GB_K']} pixels, but must be less than twice INPUT.SIZE, {side}.")


def _check_number(key, value):
    """Raise UserError for a number that none can be, as float32 or 64 bits do not hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} is {value}, but must be a finite number.")
    if isinstance(value, float) and not is_number(value):
        raise UserError(
            f"{key} is {value}, but must be 0 or, with either sign, from {LEAST:.1e} to {MOST:.1e} (float32)."
        )
    if isinstance(value, int) and value.bit_length() > 63:
        raise UserError(f"{key} has {value.bit_length()} bits, but must be a whole number of 63 or fewer.")


def flatten(section: Mapping[str, Any], prefix: str = "") -> Iterator[Tuple[str, Any]]:
    """The (dotted key, plain JSON value) pairs of a config, in its order; tuples become lists."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value):
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _is_text(value):
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


# ---- keys that all methods have ----------------------------------------------------------------------------


def method_defaults() -> SimpleNamespace:
    """The config keys that every method has, to which it adds its own: attributes, values or `Key`s."""
    defaults = SimpleNamespace()
    # Type of the frozen encoders; on a CPU fp16 falls back to fp32
    defaults.PREC = Key("fp16", one_of(*ENCODER_DTYPES))
    return defaults


def add_defaults(name: str, defaults: SimpleNamespace, parent: CN = _C.TRAINER, section: str = "TRAINER.") -> None:
    """Add node `name` to Dassl's default config; keys that are there already (a fork's) keep their values.

    The keys' ranges join those of `RANGES`.
    """
    existing = parent.setdefault(name, CN())
    if parent is _C.TRAINER:
        _METHODS.append(name)
    for key, value in vars(defaults).items():
        value = value if isinstance(value, Key) else Key(value)
        existing.setdefault(key, value.default)
        declare(f"{section}{name}.{key}", value.range)


def forget_node(name: str) -> None:
    """Take back what `add_defaults` has done for a node below TRAINER, but the node itself."""
    _METHODS[:] = [one for one in _METHODS if one != name]
    for key in [key for key in RANGES if key.startswith(f"TRAINER.{name}.")]:
        del RANGES[key]
        TRAINING_FILES.discard(key)
        CLASS_FILES.discard(key)
        RUN_FOLDERS.discard(key)


_METHODS: List[str] = []  # names of the methods' nodes


def restore_nodes(cfg: CN) -> None:
    """Put the methods' nodes back into a config that has lost them: some forks remove all nodes but their own."""
    for name in _METHODS:
        cfg.TRAINER.setdefault(name, _C.TRAINER[name].clone())


MODEL, BACKBONE, DATASET, DATALOADER, TRAIN_X, TEST, OPTIM, STORE = (SimpleNamespace() for _ in range(8))
# of the layers of a weights file that does not say which: quickgelu (OpenAI's own) or gelu (docs/backbones.md)
BACKBONE.ACTIVATION = Key("", Range("quickgelu, gelu or empty", lambda value: value in ("quickgelu", "gelu", "")))
# classes (CoCoOp: images x classes) in a pass of the text encoder; 0: as many as a quarter of the memory holds
MODEL.TEXT_CHUNK = Key(0, at_least(0))
MODEL.CUDA_GRAPHS = False  # launch a training step's kernels at once, as CUDA graphs (docs/performance.md)
DATASET.SUBSAMPLE_CLASSES = Key("all", one_of("all", "base", "new"))  # which half of the classes (CoOp)
DATASET.TEMPLATE = ""  # hand-crafted prompt with {} for the class name; empty: the data set's own
# views of each training image that SEED gives, the same for all methods; 0: drawn anew in each epoch of each run
DATALOADER.STORED_VIEWS = Key(0, whole(0))
TEST.SAVE_PREDICTIONS = False  # write predictions.npz beside metrics.json
# numbers of calibration with these remedies, too: temperature and dac (docs/metrics.md)
TEST.REMEDIES = Key([], several(None, one_of("temperature", "dac"), distinct=True))
OPTIM.EPS = Key(1e-8, above(0))  # epsilon of the Adam family (SEP's authors set 1e-3)
# when the learning rate moves along its schedule, which spans the same training: after each epoch, or each iteration
OPTIM.LR_STEP = Key("epoch", one_of("epoch", "iteration"))
OPTIM.MIN_LR = Key(0.0, between(0, FASTEST))  # learning rate at the end of the cosine
TRAIN_X.DROP_LAST = True  # leave out the last batch of a pass if it is not full, unless it is the only one (as Dassl)
STORE.DIR = ""  # folder of what is stored; empty: the environment's STORE, or else DATASET.ROOT/feature_store
STORE.MAX_GB = Key(20.0, at_least(0))  # GiB of features and decoded pictures there; 0: none
for _name in ("MODEL", "DATASET", "DATALOADER", "TEST", "OPTIM", "STORE"):
    add_defaults(_name, globals()[_name], _C, "")
add_defaults("BACKBONE", BACKBONE, _C.MODEL, "MODEL.")
add_defaults("TRAIN_X", TRAIN_X, _C.DATALOADER, "DATALOADER.")
