"""Measure what things cost: time in turns within one run, memory in a fresh process.

python tools/bench.py text    text encoder of ViT-B/16's geometry: cut against full context
python tools/bench.py step    one optimisation step of every trainer on Shapes' base classes
python tools/bench.py data    ImageNet's list of files, 1.33 million of them

Where ways are compared, ratios hold on other machines; milliseconds do not.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time

REPOSITORY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
sys.path.insert(0, REPOSITORY)

import torch  # noqa: E402
from tabulate import tabulate  # noqa: E402

import datasets  # noqa: E402
import trainers  # noqa: E402
from dassl.config import get_cfg_default  # noqa: E402
from dassl.data.datasets import build_dataset  # noqa: E402
from dassl.engine import TRAINER_REGISTRY, build_trainer  # noqa: E402
from dassl.utils import import_all  # noqa: E402
from harness.command_line import parse_args  # noqa: E402
from harness.config import merge_args  # noqa: E402
from harness.tables import in_papers_order  # noqa: E402
from trainers.run_record import peak_memory_mb  # noqa: E402

import_all(trainers)
import_all(datasets)


def config_of(arguments):
    """The config of a command line of train.py."""
    cfg = get_cfg_default()
    merge_args(cfg, parse_args(arguments))
    return cfg


def in_fresh_process(function, *args):
    """What `function` returns in a new process, which has done nothing else: a resident set only grows."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def interleaved(ways, rounds, device):
    """Median seconds of each way (name -> function), run in turns so that noise hits all alike."""

    def timed(way):
        start = time.perf_counter()
        way()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds = {name: [] for name in ways}
    for i in range(rounds + 2):  # the first two rounds warm up
        for name, way in ways.items():
            taken = timed(way)
            if i >= 2:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def print_table(title, headers, rows):
    print(title + "\n")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def ratios(seconds):
    """Rows [name, milliseconds, ratio to the first], as text."""
    first = next(iter(seconds.values()))
    return [[name, f"{1000 * s:.1f}", f"{s / first:.3f}"] for name, s in seconds.items()]


# ---- text --------------------------------------------------------------------------------------------------

COLOURS = "red green blue yellow black".split()
NOUNS = "airplane accordion butterfly camera dolphin elephant ferry gramophone helicopter lamp".split()


def bench_text(args):
    """Encode class prompts, forward and backward, with all 77 positions and with the context cut."""
    from clip.model import CLIP

    from trainers.prompting.encoders import TextEncoder
    from trainers.prompting.prompt_text import PromptSequences, init_ctx

    torch.manual_seed(0)
    clip_model = CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).to(args.device).requires_grad_(False)
    encoder = TextEncoder(clip_model)
    names = [f"{adjective} {noun}" for adjective in COLOURS for noun in NOUNS][: args.classes]
    ctx, words = init_ctx(clip_model.to("cpu"), 4, "a photo of a")
    sequences = {
        f"{s.length} positions": s.to(args.device)
        for s in (PromptSequences(clip_model, names, words, 4, min_length=n) for n in (77, 0))
    }
    clip_model.to(args.device)
    ctx = ctx.to(args.device).requires_grad_()

    def encode(s):
        return lambda: encoder(s(ctx), s.eos).sum().backward()

    seconds = interleaved({name: encode(s) for name, s in sequences.items()}, args.rounds, args.device)
    print_table(
        f"Text encoder of ViT-B/16, {len(names)} classes, forward and backward, {args.device}",
        ["", "ms", f"/ {next(iter(seconds))}"],
        ratios(seconds),
    )


# ---- step --------------------------------------------------------------------------------------------------


def build(name, root, batch_size, output):
    """A trainer on Shapes' base classes, ready for a step that is not an epoch's last."""
    command = (
        f"--seed 1 --trainer {name} --dataset-config-file {REPOSITORY}/configs/datasets/shapes.yaml "
        f"--config-file {REPOSITORY}/configs/trainers/{name}/shapes.yaml"
    )
    pairs = f"DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base DATALOADER.TRAIN_X.BATCH_SIZE {batch_size}"
    arguments = [*command.split(), "--root", root, "--output-dir", output, *pairs.split()]
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = build_trainer(config_of(arguments))
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 2
    trainer.set_model_mode("train")
    return trainer


def memory_of_steps(*arguments):
    """Peak MiB of a process that takes three steps; None if there is nothing to train."""
    trainer = build(*arguments)
    if trainer.optim is None:
        return None
    batch = next(iter(trainer.train_loader_x))
    for _ in range(3):
        trainer.forward_backward(batch)
    return peak_memory_mb()


def bench_step(args):
    """One optimisation step of each trainer on the same batch of Shapes' base classes."""
    names = args.trainers or in_papers_order(TRAINER_REGISTRY.registered_names())
    with tempfile.TemporaryDirectory() as output:
        arguments = {name: (name, args.root, args.batch_size, output) for name in names}
        print("Memory, a process for each trainer; then time, in turns", file=sys.stderr)
        memory = {name: in_fresh_process(memory_of_steps, *of) for name, of in arguments.items()}
        built = {name: build(*arguments[name]) for name in arguments if memory[name] is not None}
        if not built:
            sys.exit(f"error: none of these trainers learns anything: {', '.join(names)}")
        first = next(iter(built.values()))
        batch = next(iter(first.train_loader_x))
        ways = {name: lambda t=trainer: t.forward_backward(batch) for name, trainer in built.items()}
        seconds = interleaved(ways, args.rounds, first.device.type)
    rows = [
        [*row, f"{1000 * seconds[row[0]] / args.batch_size:.2f}", f"{memory[row[0]]:.0f}"] for row in ratios(seconds)
    ]
    print_table(
        f"Optimisation step on {first.num_classes} classes, batch {args.batch_size} for all, {first.device.type}",
        ["", "ms", f"/ {rows[0][0]}", "ms per image", "peak MiB"],
        rows,
    )


# ---- data --------------------------------------------------------------------------------------------------

LIMITS = {"first": 20.0, "cached": 3.0}  # seconds
MEMORY_LIMIT = 1536  # MiB
N_CLASSES, IMAGES = 1_000, {"train": 1_281_167, "val": 50_000}


def make_stub(root, n_classes, images):
    """ImageNet's folders with empty files in them, unchanged for an hour; `images`: part -> how many in all."""
    wnids = [f"n{i:08d}" for i in range(n_classes)]
    for part, total in images.items():
        for i, wnid in enumerate(wnids):
            folder = os.path.join(root, "imagenet", "images", part, wnid)
            os.makedirs(folder)
            for k in range(total // n_classes + (i < total % n_classes)):
                os.close(os.open(os.path.join(folder, f"{wnid}_{k}.JPEG"), os.O_CREAT | os.O_WRONLY))
            an_hour_ago = time.time() - 3600  # a folder that changed just now would be read again
            os.utime(folder, (an_hour_ago, an_hour_ago))
    with open(os.path.join(root, "imagenet", "classnames.txt"), "w") as file:
        file.writelines(f"{wnid} class {i}\n" for i, wnid in enumerate(wnids))


def build_imagenet(root):
    """Seconds that the data set takes and peak MiB of its process; also its number of images."""
    files = ["--dataset-config-file", f"{REPOSITORY}/configs/datasets/imagenet.yaml"]
    arguments = [*files, "--root", root, "--seed", "1", "--output-dir", root, "DATASET.NUM_SHOTS", "16"]
    with contextlib.redirect_stdout(io.StringIO()):
        cfg = config_of(arguments)
        start = time.perf_counter()
        dataset = build_dataset(cfg)
    return time.perf_counter() - start, peak_memory_mb(), len(dataset.train_x), len(dataset.test)


def bench_data(args):
    """Build ImageNet (16 shots) from a stub of as many empty files, for the first time and from its cache."""
    with tempfile.TemporaryDirectory(prefix="bench-data-") as root:
        print(f"Making {sum(IMAGES.values()):,} empty files in {root}", file=sys.stderr)
        make_stub(root, N_CLASSES, IMAGES)
        rows = []
        for name, limit in LIMITS.items():
            seconds, memory, *_ = in_fresh_process(build_imagenet, root)
            kept = seconds < limit and memory < MEMORY_LIMIT
            within = "yes" if kept else "NO"
            rows.append([name, f"{seconds:.1f}", f"{limit:.0f}", f"{memory:.0f}", MEMORY_LIMIT, within])
    print_table(
        f"ImageNet's list of files, {sum(IMAGES.values()):,} in {N_CLASSES:,} classes, each time in a fresh process",
        ["", "seconds", "limit", "peak MiB", "limit", "kept"],
        rows,
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    text = commands.add_parser("text", help=bench_text.__doc__)
    text.add_argument("--classes", type=int, default=50, help="number of class prompts")
    text.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    text.add_argument("--rounds", type=int, default=5)
    text.set_defaults(run=bench_text)
    step = commands.add_parser("step", help=bench_step.__doc__)
    step.add_argument("--trainers", nargs="+", default=[], metavar="NAME", help="only these (default: all that learn)")
    step.add_argument("--root", default=os.path.join(REPOSITORY, "data"), help="root of the data sets")
    step.add_argument("--batch-size", type=int, default=32, help="of all trainers, whatever their configs say")
    step.add_argument("--rounds", type=int, default=10)
    step.set_defaults(run=bench_step)
    data = commands.add_parser("data", help=bench_data.__doc__)
    data.set_defaults(run=bench_data)  # files go below $TMPDIR
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    main()
