"""Lines of a fork and its Dassl that fail, whoever's trainers run; docs/forks.md has them too."""

import importlib.machinery
import re
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from .content import ROOT


class Trouble(NamedTuple):
    path: str  # below the package
    line: str  # a regular expression
    when: str
    change: str


IN_DASSL = (
    Trouble(
        "data/datasets/dg/__init__.py",
        r"from \.wilds import \*",
        "without the package wilds",
        "delete the line, unless you use a WILDS data set",
    ),
    Trouble(
        "optim/lr_scheduler.py",
        r"super\(\).__init__\(optimizer, last_epoch, verbose\)",
        "on PyTorch 2.7 and newer",
        "super().__init__(optimizer, last_epoch)",
    ),
    Trouble(
        "utils/torchtools.py",
        r"checkpoint = torch\.load\(fpath, map_location=map_location\)",
        "on PyTorch 2.6 and newer, where the fork's own trainers load a model",
        "torch.load(fpath, map_location=map_location, weights_only=False), for files that you trust",
    ),
    Trouble(
        "data/transforms/randaugment.py",
        r"img_np = np\.array\(img\)\.astype\(np\.int\)",
        "on NumPy 1.24 and newer, where a config has randaugment",
        "img_np = np.array(img).astype(int)",
    ),
)
IN_CLIP = (
    Trouble(
        "clip.py",
        r"from pkg_resources import packaging",
        "with setuptools 81 and newer, which have no pkg_resources",
        "import packaging.version",
    ),
)
IN_PARSER = (
    Trouble(
        "parse_test_res.py",
        r'end_signal = "Finished training"',
        'on logs of a Dassl that prints "Finish training", as this one',
        "give it --test-log, for trainings too",
    ),
)


def of_fork(root: Path) -> list[str]:
    """What to change in the fork's clip/ and in its Dassl, a line each: place, when it fails, what to do."""
    dassl = find_dassl(root)
    found = [*_in(root / "clip", IN_CLIP)]
    if dassl is None:
        return [*found, "Dassl is neither beside this fork nor in this Python, so it was not looked at: docs/forks.md"]
    found += _in(dassl, IN_DASSL)
    if b'"Finish training"' in (dassl / "engine/trainer.py").read_bytes():
        found += _in(root, IN_PARSER)
    return found


def find_dassl(root: Path) -> Optional[Path]:
    """The package `dassl` that runs: in the fork's own folder, or carried below it, installed, or beside the fork."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    spec = importlib.machinery.PathFinder.find_spec("dassl", elsewhere)
    installed = [Path(spec.origin).parent] if spec and spec.origin else []
    carried, beside = (
        [path.parents[1] for path in sorted(folder.glob("*/dassl/engine/trainer.py")) if path.parents[2] != ROOT]
        for folder in (root, root.parent)
    )
    beside = [path for path in beside if not (path.parent / "train.py").exists()]  # which another fork has
    own = [root / "dassl"] if (root / "dassl/engine/trainer.py").is_file() else []
    return next(iter([*own, *carried, *installed, *beside]), None)


def _in(folder, troubles):
    for trouble in troubles:
        path = folder / trouble.path
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if re.match(rf"\s*{trouble.line}\s*$", line):
                yield f"{path}:{number} fails {trouble.when}: {trouble.change}"
