"""What a method's whole base-to-new table costs: measured steps times published schedules and data set sizes."""

import math
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from dassl.engine import TRAINER_REGISTRY
from datasets.prepare.state import loader_of
from harness.catalogue import DATASETS, METHODS
from harness.errors import UserError

from .config import REPOSITORY, config_of
from .table import Table
from .timing import interleaved
from .vit import batch_of, evaluate, model_of, step

SHOTS = 16
H100 = 989.0  # dense bf16 TFLOP/s (NVIDIA's data sheet, SXM)


def add_arguments(parser):
    parser.add_argument("--trainer", default="SEP", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prec", default="fp32", choices=("fp32", "bf16", "fp16", "amp"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tflops", type=float, default=H100, help="peak of a device to estimate (default: H100, bf16)")
    parser.add_argument("--share", type=float, default=0.2, help="share of that peak that is reached: an assumption")


def measure(args):
    """Hours of a base-to-new table: measured on this device, and from counted operations for another."""
    learning = {row.trainer: row for row in METHODS if row.learns and row.has("base2new")}
    method = learning.get(args.trainer)
    if method is None:
        raise UserError(f"{args.trainer} is no method that learns: choose from {', '.join(learning)}.")
    costs = {kind: costs_of(args, kind) for kind in ("seconds", "TFLOP")}
    rows = []
    for dataset in DATASETS:
        plan = schedule(method, dataset)
        total = {kind: args.seeds * plan.cost(*of_each) for kind, of_each in costs.items()}
        rows.append([dataset, plan.classes, plan.epochs, plan.steps, *in_hours(total, args)])
    sums = [sum(row[i] for row in rows) for i in range(3, 7)]
    rows.append(["all", sum(row[1] for row in rows), "", *sums])
    return Table(
        f"{args.trainer}, base-to-new, {SHOTS} shots, {args.seeds} seeds: hours on this {args.device} in {args.prec}, "
        f"without decoding pictures; the last column is an estimate from counted matrix products, not a measurement",
        [
            ("", ""),
            ("base classes", "d"),
            ("epochs", ""),
            ("steps a seed", "d"),
            ("h here", ".1f"),
            ("PFLOP", ".1f"),
            (f"h at {args.share:.0%} of {args.tflops:.0f} TFLOP/s", ".3f"),
        ],
        rows,
    )


class Schedule(NamedTuple):
    """A published base-to-new training with its tests, of one seed."""

    classes: int  # that are trained on
    batch: int  # images of a step
    epochs: int
    steps: int
    tested: int  # images, of base and new classes

    def cost(self, of_step, of_test):
        """of_step: of a number of images and of classes; of_test: of an image."""
        return self.steps * of_step(self.batch, self.classes) + self.tested * of_test


def schedule(method, dataset):
    loader, stem = loader_of(dataset), method.config("base2new", dataset, SHOTS)
    config = str(REPOSITORY / method.config_folder / f"{stem}.yaml")
    cfg = config_of(["--trainer", method.trainer, "--config-file", config, "DATASET.NUM_SHOTS", str(SHOTS)])
    classes, batch = math.ceil(loader.expected_classes / 2), cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    images = classes * SHOTS
    if method.transductive:
        classes, images = loader.expected_classes, loader.expected_images[0]
    run = object.__new__(TRAINER_REGISTRY.get(method.trainer))  # nothing is built
    run.cfg, run.dm = cfg, SimpleNamespace(dataset=None)
    steps = run.steps_done(max(1, images // batch))[-1]
    return Schedule(classes, batch, cfg.OPTIM.MAX_EPOCH, steps, loader.expected_images[-1])


def in_hours(total, args):
    return total["seconds"] / 3600, total["TFLOP"] / 1000, total["TFLOP"] / (args.tflops * args.share) / 3600


def costs_of(args, kind):
    """Cost of a step as a function of batch size and classes, and of testing one image.

    A step costs a constant, a share for each image and one for each class: three measurements give all three.
    """
    count = counted if kind == "TFLOP" else timed
    small, large = (4, 10), (8, 20)  # images, classes

    def steps(n_img, n_cls):
        model, precision = model_of(args.trainer, n_cls, args.prec, args.device)
        batch = batch_of(n_img, n_cls, args.device)
        return count(lambda: step(model, precision, batch), args)

    of_step = straight_line(small, large, *(steps(*of) for of in (small, (large[0], small[1]), (small[0], large[1]))))
    model, precision = model_of(args.trainer, small[1], args.prec, args.device)
    few, many = (batch_of(n, small[1], args.device)[0] for n in (small[0], large[0]))
    tests = [count(lambda images=images: evaluate(model, precision, images), args) for images in (few, many)]
    return of_step, (tests[1] - tests[0]) / (large[0] - small[0])


def straight_line(small, large, start, more_images, more_classes):
    """What a step costs, as a function of images and classes, by three measurements.

    small, large: (images, classes); start is of `small`, the others with the images or the classes of `large`.
    """
    image = (more_images - start) / (large[0] - small[0])
    text = (more_classes - start) / (large[1] - small[1])
    rest = start - image * small[0] - text * small[1]
    return lambda n_img, n_cls: rest + image * n_img + text * n_cls


def timed(function, args):
    """Seconds."""
    return interleaved({"this": function}, args.rounds, args.device)["this"].wall


def counted(function, args):
    """TFLOP of the matrix products."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e12
