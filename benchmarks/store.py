"""Evaluations and training epochs with and without stored image features, on random weights of ViT-B/16's geometry."""

import contextlib
import io
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dassl.engine import build_trainer
from dassl.utils import set_random_seed
from trainers.features.feature_store import FeatureStore

# isort: split
from clip.model import CLIP

from .config import REPOSITORY, config_of
from .table import Table
from .vit import GEOMETRY, names_of

BATCH = 32  # of the training


def add_arguments(parser):
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=400, help="pictures that are tested")
    parser.add_argument("--batches", type=int, default=4, help=f"batches of {BATCH} pictures in a training epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("evaluations", "epochs"))


def measure(args):
    """Tests and training epochs with stored image features, and without."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder, "image_folder"), args)
        weights = os.path.join(folder, "weights.pt")
        torch.manual_seed(0)
        torch.save(CLIP(*GEOMETRY).state_dict(), weights)
        for name, subjects in (("CoOp", (evaluations, epochs)), ("SEP", (evaluations,)), ("E2MIM", (epochs,))):
            subjects = [subject for subject in subjects if args.only in (None, subject.__name__)]
            trainer = build(name, folder, weights) if subjects else None
            for subject in subjects:
                rows += [[name, subject.__name__, *row] for row in in_turns(subject(trainer, folder), args.rounds)]
    return Table(
        f"{args.classes} classes; {args.pictures} pictures tested; {args.batches} batches of {BATCH} in an epoch; "
        f"{'cuda' if torch.cuda.is_available() else 'cpu'}",
        [("", ""), ("", ""), ("", ""), ("wall s", ".2f"), ("CPU s", ".2f"), ("/ first", ".3f"), ("/ first", ".3f")],
        rows,
    )


def make_pictures(root, args):
    """JPEGs with smooth random contents, in the layout of an image folder."""
    names = names_of(args.classes)
    rng = np.random.RandomState(0)
    for split, n in (("train", max(BATCH * args.batches, len(names))), ("test", max(args.pictures, len(names)))):
        for i in range(n):
            path = root / split / names[i % len(names)] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.randint(0, 256, (14, 14, 3), dtype=np.uint8))
            coarse.resize((GEOMETRY[1],) * 2, Image.BICUBIC).save(path)


def build(name, folder, weights):
    """A trainer of the method at 4 context tokens (SEP: its 6), fp32, whose views are stored."""
    data, output = REPOSITORY / "configs/datasets/image_folder.yaml", os.path.join(folder, "output")
    arguments = f"--seed 1 --trainer {name} --dataset-config-file {data} --root {folder} --output-dir {output}".split()
    size = GEOMETRY[1]
    method = [f"TRAINER.{name.upper()}.PREC", "fp32"] + ["TRAINER.COOP.N_CTX", "4"] * (name == "CoOp")
    pairs = [
        "INPUT.SIZE",
        f"({size}, {size})",
        "INPUT.TRANSFORMS",
        "['random_resized_crop', 'random_flip', 'normalize']",
        "DATALOADER.NUM_WORKERS",
        "0",
    ]
    pairs += ["DATALOADER.TEST.BATCH_SIZE", "50", "DATALOADER.TRAIN_X.BATCH_SIZE", str(BATCH)]
    pairs += ["DATALOADER.STORED_VIEWS", "1", "OPTIM.NAME", "sgd"]
    cfg = config_of([*arguments, "--backbone", weights, "MODEL.BACKBONE.ACTIVATION", "quickgelu", *pairs, *method])
    set_random_seed(cfg.SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        return build_trainer(cfg)


# ---- ways --------------------------------------------------------------------------------------------------


def evaluations(trainer, folder):
    """Tests: name -> (what comes before, not measured; what is measured)."""

    def use(size, new):
        def prepare():
            kept = tempfile.mkdtemp(dir=folder) if new else os.path.join(folder, "store")
            trainer.frozen.store = FeatureStore(kept, size)
            trainer.frozen.__dict__.pop("_encoder", None)  # each run reads its weights for their checksum

        return prepare

    ways = {"not stored": use(0, False), "cold": use(2**34, True), "warm": use(2**34, False)}
    return {name: (prepare, trainer.test) for name, prepare in ways.items()}


def epochs(trainer, folder):
    """Epochs of training from augmented pictures, and from features of views that are stored."""
    views, plain = trainer.views, trainer.views.loader
    trainer.frozen.store = FeatureStore(os.path.join(folder, "store"), 2**34)

    def drawn():
        trainer.views, trainer.train_loader_x = None, plain

    def stored():
        trainer.views = trainer.train_loader_x = views
        views._encoded.clear()  # each epoch reads its view

    return {"drawn views": (drawn, trainer.run_epoch), "stored views, warm": (stored, trainer.run_epoch)}


def in_turns(ways, rounds):
    """[way, wall s, CPU s, and both as shares of the first way's], medians after a round that warms up."""
    taken = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, (prepare, way) in ways.items():
            prepare()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                start = time.perf_counter(), time.process_time()
                way()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                end = time.perf_counter(), time.process_time()
            if i:
                taken[name].append([b - a for a, b in zip(start, end)])
    medians = {name: [statistics.median(column) for column in zip(*times)] for name, times in taken.items()}
    first = next(iter(medians.values()))
    return [[name, *times, *(t / f for t, f in zip(times, first))] for name, times in medians.items()]
