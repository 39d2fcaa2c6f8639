"""Time and memory by the number of classes."""

import time

from trainers.run.record import peak_memory_mb

from .table import Table
from .timing import in_fresh_process
from .vit import batch_of, evaluate, model_of, step


def add_arguments(parser):
    parser.add_argument("--trainers", nargs="+", default=["CoOp", "SEP"], metavar="NAME")
    parser.add_argument("--train", nargs="*", type=int, default=[50, 100, 200, 500, 1000], help="numbers of classes")
    parser.add_argument("--test", nargs="*", type=int, default=[50, 200, 1000, 5000, 21000], help="numbers of classes")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--figure", metavar="FILE", help="draw the curves (.png, .svg)")
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="config keys, such as MODEL.TEXT_CHUNK 100")


def measure(args):
    """A training step, and text and one batch of an evaluation, of models with few and with many classes, on a CPU."""
    rows = []
    for name in args.trainers:
        for what, cost, numbers in (("training step", train, args.train), ("text and a test batch", test, args.test)):
            for n in numbers:
                seconds, memory = in_fresh_process(cost, name, n, args.batch_size, args.rounds, args.pairs)
                rows.append([name, what, n, seconds, memory])
    if args.figure:
        draw(rows, args.figure)
    return Table(
        f"ViT-B/16's geometry, fp32, CPU, batch {args.batch_size}, default settings; each in a fresh process",
        [("", ""), ("", ""), ("classes", "d"), ("s", ".2f"), ("peak MiB", ".0f")],
        rows,
    )


def draw(rows, path):
    """Seconds and memory against the number of classes, a curve for each method and what it does."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for ax, column, label in zip(axes, (3, 4), ("CPU seconds", "peak MiB")):
        for curve in dict.fromkeys((name, what) for name, what, *_ in rows):
            n, values = zip(*((row[2], row[column]) for row in rows if tuple(row[:2]) == curve))
            ax.loglog(n, values, "o-" if curve[1] == "training step" else "s--", label=", ".join(curve))
        ax.set(xlabel="classes", ylabel=label)
        ax.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


def train(name, n, batch_size, rounds, pairs):
    model, precision = model_of(name, n, pairs=pairs)
    batch = batch_of(batch_size, n)
    return quickest(lambda: step(model, precision, batch), rounds), peak_memory_mb()


def test(name, n, batch_size, rounds, pairs):
    model, precision = model_of(name, n, pairs=pairs)
    images, _ = batch_of(batch_size, n)
    return quickest(lambda: evaluate(model, precision, images), rounds), peak_memory_mb()


def quickest(function, rounds):
    """CPU seconds of the quickest of some calls: what it takes on a machine that does nothing else."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return min(taken)
