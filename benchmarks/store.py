"""Evaluations and training epochs with and without stored image features, on random weights of ViT-B/16's geometry."""

import contextlib
import io
import os
import tempfile

import torch

from dassl.engine import build_trainer
from dassl.utils import set_random_seed
from trainers.features.feature_store import FeatureStore

# isort: split
from clip.model import CLIP

from .config import REPOSITORY, config_of
from .pictures import make_pictures
from .table import Table
from .timing import interleaved
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
        names = names_of(args.classes)
        for split, n in (("train", BATCH * args.batches), ("test", args.pictures)):
            classes = [os.path.join(folder, "image_folder", split, name) for name in names]
            make_pictures(classes, max(n, len(names)), GEOMETRY[1])
        weights = os.path.join(folder, "weights.pt")
        torch.manual_seed(0)
        torch.save(CLIP(*GEOMETRY).state_dict(), weights)
        both, tests, trainings = (evaluations, epochs), (evaluations,), (epochs,)
        for name, subjects in (("CoOp", both), ("SEP", tests), ("E2MIM", trainings), ("SkipTuning", trainings)):
            subjects = [subject for subject in subjects if args.only in (None, subject.__name__)]
            trainer = build(name, folder, weights) if subjects else None
            for subject in subjects:
                seconds = interleaved(subject(trainer, folder), args.rounds, trainer.device.type)
                first = next(iter(seconds.values()))
                for way, taken in seconds.items():
                    shares = [one / other for one, other in zip(taken, first)]
                    rows.append([name, subject.__name__, way, *taken, *shares])
    return Table(
        f"{args.classes} classes; {args.pictures} pictures tested; {args.batches} batches of {BATCH} in an epoch; "
        f"{'cuda' if torch.cuda.is_available() else 'cpu'}",
        [("", ""), ("", ""), ("", ""), ("wall s", ".2f"), ("CPU s", ".2f"), ("/ first", ".3f"), ("/ first", ".3f")],
        rows,
    )


def build(name, folder, weights):
    """A trainer of the method at 4 context tokens (SEP: its 6), fp32, whose views are stored."""
    data, output = REPOSITORY / "configs/datasets/image_folder.yaml", os.path.join(folder, "output")
    arguments = f"--seed 1 --trainer {name} --dataset-config-file {data} --root {folder} --output-dir {output}".split()
    keys = {
        "MODEL.BACKBONE.ACTIVATION": "quickgelu",
        "INPUT.SIZE": f"({GEOMETRY[1]}, {GEOMETRY[1]})",
        "INPUT.TRANSFORMS": "['random_resized_crop', 'random_flip', 'normalize']",
        "DATALOADER.NUM_WORKERS": "0",
        "DATALOADER.TEST.BATCH_SIZE": "50",
        "DATALOADER.TRAIN_X.BATCH_SIZE": str(BATCH),
        "DATALOADER.STORED_VIEWS": "1",
        "OPTIM.NAME": "sgd",
        "TRAINER.COOP.N_CTX": "4",
        "TRAINER.SKIPTUNING.START_LAYER": str(GEOMETRY[2] // 2),
        f"TRAINER.{name.upper()}.PREC": "fp32",
    }
    cfg = config_of([*arguments, "--backbone", weights, *(word for pair in keys.items() for word in pair)])
    set_random_seed(cfg.SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        return build_trainer(cfg)


# ---- ways --------------------------------------------------------------------------------------------------


def evaluations(trainer, folder):
    """Tests with nothing stored, with an empty store and with a full one, for `interleaved`."""

    def use(size, new):
        def prepare():
            kept = tempfile.mkdtemp(dir=folder) if new else os.path.join(folder, "store")
            trainer.frozen.store = FeatureStore(kept, size)
            trainer.frozen.__dict__.pop("_encoder", None)  # as in a new run, which takes the checksum of its weights

        return prepare

    ways = {"not stored": use(0, False), "cold": use(2**34, True), "warm": use(2**34, False)}
    return {name: (prepare, quiet(trainer.test)) for name, prepare in ways.items()}


def epochs(trainer, folder):
    """Epochs of training from augmented pictures, and from features of views that are stored, for `interleaved`."""
    views, plain = trainer.views, trainer.views.loader
    trainer.frozen.store = FeatureStore(os.path.join(folder, "store"), 2**34)

    def drawn():
        trainer.views, trainer.train_loader_x = None, plain

    def stored():
        trainer.views = trainer.train_loader_x = views
        views._encoded.clear()  # each epoch reads its view

    epoch = quiet(trainer.run_epoch)
    return {"drawn views": (drawn, epoch), "stored views, warm": (stored, epoch)}


def quiet(function):
    """The function, without what it prints."""

    def silent():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            function()

    return silent
