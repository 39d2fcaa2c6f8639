"""Predictions of small pictures with a trained run's model: what reading costs, what the model, and both together."""

import os
import tempfile

import torch

from inference.api import load_run

from .config import config_of
from .pictures import make_pictures
from .table import Table
from .timing import interleaved
from .vit import names_of

NAME, SIZE, N_CLASSES = "shapes-tiny", 64, 50  # the bundled CLIP, and its pictures' pixels
TARGET = 0.85  # of the speed of the slower one alone


def add_arguments(parser):
    parser.add_argument("--model-dir", metavar="RUN", help="a run's model (default: zero-shot CLIP on shapes-tiny)")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=SIZE, help="pixels of a picture's side")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))


def measure(args):
    """Pictures a second of reading alone, of the model alone, and of predicting, which does both."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_pictures([folder], args.pictures, args.side)
        model = load_run(args.model_dir or make_run(folder), None if args.model_dir else names_of(N_CLASSES))
        device = model.device.type
        seconds = interleaved(ways(model, paths, args.batch_size), args.rounds, device)
    speed = {name: args.pictures / s.wall for name, s in seconds.items()}
    slower = min(speed["reading alone"], speed["model alone"])
    # what to expect on a CPU, where reading and the model use the same processors
    shared = args.pictures / (seconds["reading alone"].wall + seconds["model alone"].wall)
    rows = [[name, value, value / slower, value / shared] for name, value in speed.items()]
    return Table(
        f"{model.cfg.TRAINER.NAME} on {model.cfg.MODEL.BACKBONE.NAME}, {args.pictures} JPEGs of {args.side} x "
        f"{args.side}, batches of {args.batch_size}, {args.threads} threads, {device}; the aim is {TARGET:.2f} of the "
        "slower one",
        [("", ""), ("pictures/s", ".0f"), ("/ slower one", ".2f"), ("/ one after the other", ".2f")],
        rows,
    )


def ways(model, paths, batch_size):
    images = [image for batch in model.read(paths, batch_size) for _, image in batch]

    def reading():
        assert sum(len(batch) for batch in model.read(paths, batch_size)) == len(paths)

    def alone():
        for i in range(0, len(images), batch_size):
            model.predict(images[i : i + batch_size])

    def both():
        assert sum(1 for _ in model.stream(paths, batch_size=batch_size)) == len(paths)

    return {"reading alone": reading, "model alone": alone, "predicting": both}


def make_run(folder):
    """A folder of a run of zero-shot CLIP, which is its settings."""
    size, template = ["INPUT.SIZE", f"({SIZE}, {SIZE})"], ["DATASET.TEMPLATE", "a picture of a {}."]
    transform = ["INPUT.INTERPOLATION", "bicubic", "INPUT.TRANSFORMS", "['normalize']"]
    cfg = config_of(["--trainer", "ZeroshotCLIP", "--backbone", NAME, *size, *template, *transform])
    with open(os.path.join(folder, "config.yaml"), "w", encoding="utf-8") as file:
        file.write(cfg.dump())
    return folder
