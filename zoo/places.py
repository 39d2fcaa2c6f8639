"""Where the checkpoints of a published model zoo belong here: from their paths to the runs of this layout.

Authors publish folders of runs, named as their scripts name them:

    <data set>/base/seed1/..., <data set>/16shot/seed1/..., imagenet/seed1/...         MaPLe, PromptSRC
    output/base2new/train_base/<data set>/shots_16/<trainer>/<config>/seed1/...        CoCoOp and what came after it
    output/<data set>/<trainer>/<config>_16shots/[...]/seed1/...                       CoOp's few-shot, others' xd

each with model.pth.tar-<epoch> somewhere below.
"""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from harness import layout
from harness.catalogue import METHODS, OWN_DATASETS, Method
from harness.errors import UserError
from harness.layout import PARTS, Place
from harness.running.protocols import SHOTS, STEPS
from trainers.run import checkpoint

ROOT = Path(__file__).resolve().parent.parent
TRAINS = {PARTS[step.folder].protocol: step for step in STEPS.values() if not step.needs}  # protocol -> its training
_SEED = re.compile(r"seed_?(\d+)")
_SHOTS = re.compile(r"(?:^|_)(?:shots_(\d+)|(\d+)shots?)(?:_|$)")
_TESTS = ("novel", "new", "test_new", "test_base")


def checkpoints_below(folder: str) -> list[str]:
    """The newest checkpoint of every run at or below `folder`; its best one where there is no other."""
    found = []
    for path, folders, files in os.walk(folder):
        folders.sort()
        epochs = checkpoint.epochs_in(path)
        name = checkpoint.name_of(epochs[-1]) if epochs else checkpoint.BEST
        if name in files:
            found.append(os.path.join(path, name))
    return found


def place_of_file(
    file: str, top: str, trainer: str, protocol: str = "", dataset: str = "", seed: Optional[int] = None
) -> Place:
    """The run that a checkpoint's path says it is of. Raises UserError, naming what it does not say.

    Args:
        top: the folder of the zoo. Above it, only the data set is looked for.
        protocol: base2new, xd or few_shot, where the path does not say it.
        dataset, seed: instead of what the path says.
    """
    method = method_of(trainer)
    parts = Path(os.path.abspath(file)).parent.parts
    names = {*(path.stem for path in ROOT.glob("configs/datasets/*.yaml")), *OWN_DATASETS}
    at = next((i for i in reversed(range(len(parts))) if parts[i] in names), None)
    if at is None and not dataset:
        raise UserError(f'The path of "{file}" names no data set: import it alone, with --dataset-config-file.')
    start = len(Path(os.path.abspath(top)).parts) - 1
    if at is not None:  # scripts' layouts have the protocol in front of the data set
        start = min(start, at - (parts[at - 1] in ("train_base", "few_shot")))
    below, dataset = parts[start:], dataset or parts[at]
    other = [part for part in below if part in {row.trainer for row in METHODS} - {trainer}]
    if other:
        raise UserError(f'"{file}" is of {other[-1]} by its folder, not of {trainer}: import it with --trainer.')
    tested = [part for part in below if part in _TESTS]
    if tested:
        raise UserError(f'"{file}" is of a test by its folder, "{tested[-1]}": import the training\'s.')
    named = _last(_SEED.fullmatch, below)
    if seed is None and named is None:
        raise UserError(f'The path of "{file}" names no seed ("seed1"): import it alone, with --seed.')
    shots = _last(_SHOTS.search, below)
    protocol = protocol or _protocol(below, dataset)
    if not protocol:
        raise UserError(f'The path of "{file}" names no protocol: add --protocol.')
    n_shots = int(shots[1] or shots[2]) if shots else SHOTS
    own = [part for part in below if (ROOT / f"configs/trainers/{trainer}/{part}.yaml").is_file()]
    cfg = own[-1] if own else method.config(protocol, dataset, n_shots)
    return Place(TRAINS[protocol].folder, dataset, str(n_shots), trainer, cfg, int(named[1]) if seed is None else seed)


def place_of_run(folder: str, trainer: str) -> Optional[Place]:
    """The run that a folder of this layout is for; None for any other folder. Raises UserError if it cannot be that."""
    found = layout.place_of(folder)
    if found is None:
        return None
    place = found[1]
    if place.trainer != trainer:
        raise UserError(
            f"{folder} is for a run of {place.trainer}, not of {trainer}: correct --output-dir or --trainer."
        )
    if place.folder not in {step.folder for step in TRAINS.values()}:
        raise UserError(f"{folder} is for a test, not for a training: use another --output-dir.")
    return place


def _last(match, parts):
    return next((found for found in map(match, reversed(parts)) if found), None)


def _protocol(parts: Sequence[str], dataset: str) -> str:
    if {"base", "train_base"} & set(parts):
        return "base2new"
    if "few_shot" in parts or any(re.fullmatch(r"\d+shots?", part) for part in parts):
        return "few_shot"
    if dataset == "imagenet" or "xd" in parts or any("cross_dataset" in part for part in parts):
        return "xd"
    return "few_shot" if any(re.search(r"_\d+shots?$", part) for part in parts) else ""


def method_of(trainer: str) -> Method:
    """The row of a trainer. Raises UserError if there is none."""
    rows = {row.trainer: row for row in METHODS}
    if trainer not in rows:
        raise UserError(f"Unknown trainer {trainer}: --trainer can be {', '.join(rows)}.")
    return rows[trainer]


def train_arguments(place: Place) -> tuple[list[str], list[str]]:
    """(flags, KEY VALUE pairs) of the train.py that trains a run of this layout, but --root and --output-dir."""
    own = OWN_DATASETS.get(place.dataset)
    flags = [
        *("--seed", str(place.seed), "--trainer", place.trainer),
        *("--dataset-config-file", own.file if own else str(ROOT / f"configs/datasets/{place.dataset}.yaml")),
        *("--config-file", str(ROOT / f"configs/trainers/{place.trainer}/{place.cfg}.yaml")),
    ]
    classes = PARTS[place.folder].classes
    return flags, ["DATASET.NUM_SHOTS", place.shots, "DATASET.SUBSAMPLE_CLASSES", classes]


def test_command(place: Place, output: str, root: str, pairs: Sequence[str]) -> Optional[str]:
    """The script, as a user types it, that tests an imported run on the classes that it was trained on.

    Args:
        output: the folder that the run's layout lies in.
        root: that of the data sets, "" for the scripts' own.
        pairs: the KEY VALUE pairs that it was trained with.

    None for a run that no script trains.
    """
    step = next((step for step in TRAINS.values() if step.folder == place.folder), None)
    if step is None:
        return None
    method = method_of(place.trainer)
    environment = [f"DATA={shlex.quote(root)}"] if root else []
    if os.path.abspath(output) != str(ROOT / "output"):
        environment.append(f"OUTPUT={shlex.quote(output)}")
    if place.cfg != method.config(PARTS[step.folder].protocol, place.dataset, int(place.shots), pairs):
        environment.append(f"CFG={place.cfg}")
    shots = [place.shots] if "SHOTS" in step.arguments else []
    if not shots and place.shots != str(SHOTS):
        environment.append(f"SHOTS={place.shots}")
    script = f"scripts/{method.folder}/{step.script}.sh"
    return " ".join([*environment, "bash", script, place.dataset, str(place.seed), *shots, *map(shlex.quote, pairs)])
