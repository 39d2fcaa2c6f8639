"""Folders shaped like the public forks of CoOp: what add_to_fork.py meets there, as small as it can be."""

import shutil
import subprocess
from pathlib import Path

import clip  # noqa: F401  after torchvision has been prepared: see tests/conftest.py

PACKAGE = "trainers/prompt_methods"  # what is added to each
TRAIN = """\
import argparse

from dassl.utils import setup_logger, set_random_seed
from dassl.config import get_cfg_default, clean_cfg
from dassl.engine import build_trainer

# custom
import datasets.tiny

{imports}
def reset_cfg(cfg, args):
    cfg.DATASET.ROOT = args.root
    cfg.OUTPUT_DIR = args.output_dir
    cfg.SEED = args.seed
    cfg.TRAINER.NAME = args.trainer


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN

    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.CTX_INIT = {ctx_init}  # initialization words
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base or new
{extend}

def setup_cfg(args):
    cfg = get_cfg_default()
{clean}    extend_cfg(cfg)

    # 1. From the dataset config file
    if args.dataset_config_file:
        cfg.merge_from_file(args.dataset_config_file)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    reset_cfg(cfg, args)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    else:
        trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "output-dir", "config-file", "dataset-config-file", "trainer", "model-dir"):
        parser.add_argument("--" + name, type=str, default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    main(parser.parse_args())
"""
DATASET = """\
import os

from dassl.data.datasets import DATASET_REGISTRY, Datum, DatasetBase


@DATASET_REGISTRY.register()
class Tiny(DatasetBase):
    def __init__(self, cfg):
        self.dataset_dir = os.path.join(cfg.DATASET.ROOT, "tiny")
        half = {"base": slice(0, 3), "new": slice(3, 6), "all": slice(0, 6)}[cfg.DATASET.SUBSAMPLE_CLASSES]
        names = sorted(os.listdir(self.dataset_dir))[half]
        items = [
            Datum(impath=os.path.join(self.dataset_dir, name, f"{i}.png"), label=label, classname=name)
            for label, name in enumerate(names)
            for i in range(6)
        ]
        train = [item for item in items if item.impath[-5] < "4"]
        super().__init__(train_x=train, test=[item for item in items if item.impath[-5] > "3"])
"""
OWN_TRAINER = """\
from dassl.engine import TRAINER_REGISTRY

from .base import words


@TRAINER_REGISTRY.register()
class {name}:
    def __init__(self, cfg):
        print("the fork's own {name}:", words(), repr(cfg.TRAINER.COOP.CTX_INIT))

    def train(self):
        pass
"""
OWN_BASE = 'def words():\n    return "with its own base"\n'
DESIGN_DETAILS = """

_plain = build_model


def build_model(state_dict, design_details):
    assert design_details["vision_depth"] == 0, design_details
    return _plain(state_dict)
"""
IMPORTS = "import trainers.{0}\n\n\n"


def coop(root: Path, own="coop", imports=IMPORTS, ctx_init='""', extend="", clean="", registers="CoOp") -> Path:
    """CoOp's, and what the others change of it. Returns `root`."""
    texts = {
        "train.py": TRAIN.format(imports=imports.format(own), ctx_init=ctx_init, extend=extend, clean=clean),
        "datasets/__init__.py": "",
        "datasets/tiny.py": DATASET,
        "trainers/__init__.py": "",
        "trainers/base.py": OWN_BASE,
        f"trainers/{own}.py": OWN_TRAINER.format(name=registers),
        "configs/datasets/tiny.yaml": 'DATASET:\n  NAME: "Tiny"\n',
        f"configs/trainers/{registers}/vit_b16.yaml": "OPTIM:\n  MAX_EPOCH: 50\n",
        "scripts/coop/main.sh": "DATA=/path/to/datasets\n",
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def maple(root: Path) -> Path:
    """A modified clip, whose build_model has a second argument, and a MaPLe of its own."""
    coop(root, own="maple", registers="MaPLe")
    shutil.copytree(Path(clip.__file__).parent, root / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    with open(root / "clip/model.py", "a", encoding="utf-8") as file:
        file.write(DESIGN_DETAILS)
    return root


def dept(root: Path) -> Path:
    """`import trainers`, whose __init__ imports all; node cleaning; other defaults for every trainer."""
    extend = '    cfg.OPTIM.STAGED_LR = True\n    cfg.OPTIM.NEW_LAYERS = ["linear_probe"]\n'
    coop(root, imports="import trainers\n\n\n", clean="    clean_cfg(cfg, 'COOP')\n\n", extend=extend)
    (root / "trainers/__init__.py").write_text("from .coop import CoOp\n\n__all__ = ['CoOp']\n")
    return root


def nested(root: Path) -> Path:
    """One level down, beside its own Dassl; imports that end where a function begins; a node with another type."""
    coop(root / "KgCoOp", own="kgcoop", registers="KgCoOp", imports="import trainers.{0}\n", ctx_init="False")
    (root / "Dassl.pytorch/tools").mkdir(parents=True)
    (root / "Dassl.pytorch/tools/train.py").write_text("")
    return root / "KgCoOp"


def sep(root: Path) -> Path:
    """SEP's own public fork, whose SEP is in the registry and whose config has our name for another one."""
    return coop(root, own="sep", registers="SEP")


KINDS = {tree.__name__: tree for tree in (coop, maple, dept, nested, sep)}


def commit(root: Path) -> None:
    """Put all there is under git."""
    config = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "-A"), (*config, "commit", "-qm", "all")):
        subprocess.run(["git", *command], cwd=root, check=True)


def state(root: Path) -> dict:
    """Path -> content and permissions, of all below `root` but git's own and what runs leave in output/."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes() if path.is_file() else None, path.stat().st_mode)
        for path in root.rglob("*")
        if not {".git", "output"} & set(path.relative_to(root).parts)
    }


def kept(folder):
    """What is written below a folder, and its content."""
    return {path: content for path, (content, _) in state(folder).items() if content is not None}
