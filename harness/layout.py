"""Where a run lives: from what it is of to a folder and back, and what its checkpoints are called.

    <output>/<part>/<data set>/shots_<n>/<trainer>/<config>/seed<n>/

as in MaPLe, with the parts of PARTS. records.py reads the metrics.json that a run leaves there.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple, Optional


class Part(NamedTuple):
    protocol: str  # base2new | xd | few_shot; domain generalization is xd with other targets
    name: str
    classes: str  # DATASET.SUBSAMPLE_CLASSES


PARTS = {  # folder -> what is in it
    "base2new/train_base": Part("base2new", "base", "base"),
    "base2new/test_new": Part("base2new", "new", "new"),
    "base2new/test_joint": Part("base2new", "joint", "all"),
    "xd/train": Part("xd", "source", "all"),
    "xd/test": Part("xd", "target", "all"),
    "few_shot": Part("few_shot", "all", "all"),
}
VARIANT = "@"  # between a config's name and that of a sweep's variant of it
_FOLDERS = "|".join(folder.replace("base2new/", "(?:base2new/)?") for folder in PARTS)  # forks leave it out
_LAYOUT = re.compile(
    rf"^(?P<root>.*?)/(?P<folder>{_FOLDERS})/(?P<dataset>[^/]+)"
    r"/shots_(?P<shots>[^/]+)/(?P<trainer>[^/]+)/(?P<cfg>[^/]+)/seed(?P<seed>\d+)$"
)
_CHECKPOINT = re.compile(r"model\.pth\.tar-(\d+)")


class Place(NamedTuple):
    """What a run's folder says about it."""

    folder: str  # a key of PARTS
    dataset: str
    shots: str
    trainer: str
    cfg: str
    seed: int

    def below(self, output: str) -> str:
        """Its path below an output folder."""
        rest = f"{self.dataset}/shots_{self.shots}/{self.trainer}/{self.cfg}/seed{self.seed}"
        return f"{output}/{self.folder}/{rest}"


# The config keys that a run's folder stands for, and what a user sets in the place of a KEY VALUE pair
DECIDES = {
    "OUTPUT_DIR": "the variable OUTPUT says where results go",
    "DATASET.SUBSAMPLE_CLASSES": "it follows from the script or the protocol",
    "DATASET.NAME": "the data set is an argument of scripts, DATASETS of reproduce.sh, and datasets of a sweep",
    "DATASET.NUM_SHOTS": "set the shots with the variable SHOTS, few_shot.sh's third argument, or shots of a sweep",
    "TRAINER.NAME": "the method is that of the script's folder, and methods of a sweep",
    "SEED": "the seed is an argument of scripts, SEEDS of reproduce.sh, and seeds of a sweep",
}


def place_of(path) -> Optional[tuple]:
    """(output folder, Place) of a run's folder; None outside the layout."""
    match = _LAYOUT.match(Path(os.path.abspath(path)).as_posix())
    if match is None:
        return None
    found = match.groupdict()
    root, folder = found.pop("root"), found.pop("folder")
    if folder not in PARTS:
        folder = f"base2new/{folder}"
    return root or "/", Place(folder, **{**found, "seed": int(found["seed"])})


def same_run(one, other) -> bool:
    """Whether two folders are of one run: the same below their output folders, so that results may be moved."""
    places = [place_of(folder) for folder in (one, other)]
    if None in places:
        return os.path.realpath(one) == os.path.realpath(other)
    return places[0][1] == places[1][1]


def epoch_of(name: str) -> Optional[int]:
    """The epoch that a checkpoint's file name says; None for any other name, model-best.pth.tar included."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def last_epoch(folder) -> int:
    """The newest checkpoint's epoch, of whatever model, 0 without any."""
    return max(filter(None, map(epoch_of, _checkpoints(folder))), default=0)


def has_checkpoints(folder) -> bool:
    """Whether a run's folder holds any checkpoint, be it the best, a damaged one, or of a model of another name."""
    return bool(_checkpoints(folder))


def _checkpoints(folder) -> list[str]:
    try:
        return [path.name for path in Path(folder).glob("*/model*.pth.tar*")]
    except OSError:  # no folder can have that name
        return []
