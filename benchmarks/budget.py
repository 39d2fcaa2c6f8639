"""What a method's whole base-to-new table costs: measured steps times published schedules and data set sizes."""

import math

import torch
from torch.utils.flop_counter import FlopCounterMode

from datasets.prepare.state import loader_of
from harness.catalogue import DATASETS, METHODS
from harness.config import read_config
from harness.errors import UserError

from .config import REPOSITORY
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
        loader = loader_of(dataset)
        base = math.ceil(loader.expected_classes / 2)
        stem = method.config("base2new", dataset, SHOTS)
        config = read_config(str(REPOSITORY / method.config_folder / f"{stem}.yaml"))
        batch = config.get("DATALOADER", {}).get("TRAIN_X", {}).get("BATCH_SIZE", 32)
        epochs = config["OPTIM"]["MAX_EPOCH"]
        steps = epochs * max(1, base * SHOTS // batch)
        total = {}
        for kind, (of_step, of_test) in costs.items():
            total[kind] = args.seeds * (steps * of_step(batch, base) + loader.expected_images[-1] * of_test)
        rows.append([dataset, base, epochs, steps, *in_hours(total, args)])
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

    start = steps(small[0], small[1])
    image = (steps(large[0], small[1]) - start) / (large[0] - small[0])
    text = (steps(small[0], large[1]) - start) / (large[1] - small[1])
    rest = start - image * small[0] - text * small[1]
    model, precision = model_of(args.trainer, small[1], args.prec, args.device)
    few, many = (batch_of(n, small[1], args.device)[0] for n in (small[0], large[0]))
    tests = [count(lambda images=images: evaluate(model, precision, images), args) for images in (few, many)]
    return lambda n_img, n_cls: rest + image * n_img + text * n_cls, (tests[1] - tests[0]) / (large[0] - small[0])


def timed(function, args):
    """Seconds."""
    return interleaved({"this": function}, args.rounds, args.device)["this"].wall


def counted(function, args):
    """TFLOP of the matrix products."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e12
