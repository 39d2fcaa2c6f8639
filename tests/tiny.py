"""A CLIP and a data set so small that whole runs take a second."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import datasets.few_shot as few_shot
import trainers
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import build_trainer
from dassl.utils import import_all, set_random_seed
from tests.golden.formula import clip_state_dict
from trainers.backbone.clip_loader import build_clip
from trainers.prompting.text_tokens import Groups, TextTokens
from trainers.run.experiment import settings_of

import_all(trainers)  # a run names its trainer

CLASSNAMES = ["cat", "polar_bear", "dog", "very long class name", "owl", "ox"]
GEOMETRY = {
    "embed_dim": 32,
    "image_resolution": 32,
    "vision_patch_size": 8,
    "vision_width": 64,
    "vision_layers": 3,
    "transformer_width": 64,
    "transformer_layers": 2,
}


@DATASET_REGISTRY.register()
class TinyData(DatasetBase):
    """Six classes of 32 x 32 pictures, each a noisy colour of its own; made below ROOT at first use."""

    def __init__(self, cfg):
        root = Path(cfg.DATASET.ROOT) / "tiny"
        self.dataset_dir = str(root)
        splits = {}
        for split, n in (("train", 6), ("val", 2), ("test", 3)):
            splits[split] = []
            for label, name in enumerate(CLASSNAMES):
                for i in range(n):
                    path = root / split / f"{label}_{i}.png"
                    if not path.exists():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        rng = np.random.RandomState(1000 * label + 10 * i + len(split))
                        colour = np.random.RandomState(label).randint(40, 215, 3)
                        pixels = (colour + rng.normal(0, 25, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                        Image.fromarray(pixels).save(path)
                    splits[split].append(Datum(impath=str(path), label=label, classname=name))
        train, val, test = few_shot.subsample_classes(*splits.values(), subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)


def _resnet_state_dict():
    from clip.model import CLIP

    torch.manual_seed(0)
    return CLIP(32, 32, (1, 1, 1, 1), 16, None, 77, 49408, 64, 1, 2).state_dict()


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Paths of weights files in OpenAI's format: {"vit": ..., "resnet": ...}."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for name, state in (("vit", clip_state_dict(g=GEOMETRY)), ("resnet", _resnet_state_dict())):
        paths[name] = str(folder / f"{name}.pt")
        torch.save(state, paths[name])
    return paths


@pytest.fixture(scope="session")
def tiny_clip():
    """tiny_clip() -> a CLIP of one's own; drawing its weights anew would take most of a test's time."""
    model = build_clip(clip_state_dict(g=GEOMETRY))
    return lambda: copy.deepcopy(model)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


def give_teacher(cfg, folder, dim=GEOMETRY["embed_dim"]):
    """Let PromptKD learn from the smallest of runs, of zero-shot CLIP on `cfg`'s backbone and pictures: `folder`.

    dim: of that backbone's features. A config of another method stays as it is.
    """
    if cfg.TRAINER.NAME != "PromptKD" or cfg.TRAINER.PROMPTKD.TEACHER:
        return
    cfg.TRAINER.PROMPTKD.TEACHER_DIM = dim
    teacher = cfg.clone()
    teacher.TRAINER.NAME = "ZeroshotCLIP"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(teacher.dump())
    record = {"trainer": "ZeroshotCLIP", "settings": settings_of(teacher, ["ZSCLIP"])}
    (folder / "metrics.json").write_text(json.dumps(record))
    cfg.TRAINER.PROMPTKD.TEACHER = str(folder)


@pytest.fixture
def make_cfg(weights, data_root, tmp_path):
    """make_cfg(trainer name, KEY, value, ..., output=folder) -> config of a run on TinyData."""

    def make(trainer, *options, output=tmp_path / "output", backbone="vit"):
        cfg = get_cfg_default()
        cfg.TRAINER.NAME = trainer
        cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.OUTPUT_DIR = "TinyData", data_root, str(output)
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.ACTIVATION = weights[backbone], "quickgelu"
        cfg.INPUT.SIZE = (32, 32)
        cfg.INPUT.TRANSFORMS = ["random_resized_crop", "random_flip", "normalize"]
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 8
        cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH = "adam", 2e-3, 3
        cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE = "cosine", 1, "constant"
        cfg.USE_CUDA, cfg.SEED = False, 1
        cfg.STORE.DIR = str(tmp_path / "feature_store")
        cfg.merge_from_list(list(options))
        if "TRAINER.PROMPTKD.TEACHER" not in options:
            give_teacher(cfg, tmp_path / "teacher")
        return cfg

    return make


@pytest.fixture
def make_trainer(make_cfg):
    """make_trainer(name, ...) -> a trainer built as train.py builds it."""

    def make(*args, **kwargs):
        cfg = make_cfg(*args, **kwargs)
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """finished_run(make_trainer, name, KEY, value, ...) -> folder of a run, made once a session; not to be changed.

    Its cfg.OUTPUT_DIR and what belongs to it (a teacher) stay in the folder of the test that asked first.
    """
    made = {}

    def make(make_trainer, *args):
        key = str(args)
        if key not in made:
            trainer = make_trainer(*args)
            trainer.test() if trainer.optim is None else trainer.train()
            output = Path(trainer.cfg.OUTPUT_DIR)
            (output / "config.yaml").write_text(trainer.cfg.dump())
            made[key] = tmp_path_factory.mktemp("finished") / "run"
            output.rename(made[key])
        return made[key]

    return make


@pytest.fixture
def run(make_trainer, finished_run, tmp_path):
    """run(row of methods.py, KEY, value, ...) -> folder of a run of an epoch, and the predictions of its test."""

    def make(row, *options):
        shorter = ("TEST.SAVE_PREDICTIONS", True, "OPTIM.MAX_EPOCH", 1)
        made = finished_run(make_trainer, row.trainer, *row.options, *shorter, *options)
        folder = shutil.copytree(made, tmp_path / "output", dirs_exist_ok=True)
        return str(folder), np.load(folder / "predictions.npz")

    return make


def written_out(tokens):
    """Each sequence of `TextTokens` up to the end of its group, in the order of their numbers."""
    shared, own = tokens.split(tokens.x)
    groups = [torch.cat(both, dim=1) for both in zip(tokens.each(shared), own)]
    sequences = [sequence for group in groups for sequence in group]
    return [sequences[i] for i in tokens.rows.argsort()]


def as_tokens(x, n_shared):
    """Sequences (n, length, width) that begin with the same `n_shared` tokens, as `TextTokens`."""
    n, length = x.shape[:2]
    flat = torch.cat([x[0, :n_shared], x[:, n_shared:].flatten(0, 1)])
    return TextTokens(flat, n_shared, Groups([n], [length]), torch.arange(n), torch.full((n,), length - 1))
