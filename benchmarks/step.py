"""One optimisation step of every trainer on Shapes' base classes."""

import contextlib
import io
import sys
import tempfile

import own_methods
from dassl.engine import TRAINER_REGISTRY, build_trainer
from harness.catalogue import METHODS
from harness.errors import UserError
from harness.report.tables import in_papers_order
from trainers.run.record import peak_memory_mb

from . import launches
from .config import DATA, REPOSITORY, config_of
from .subject import GEOMETRIES, Subject
from .table import Table
from .timing import in_fresh_process, interleaved


def add_arguments(parser):
    parser.add_argument(
        "--trainers",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these (default: all that learn, and not from a run)",
    )
    parser.add_argument("--root", default=DATA, help="root of the data sets")
    parser.add_argument("--batch-size", type=int, default=32, help="of all trainers, whatever their configs say")
    parser.add_argument("--rounds", type=int, default=10)


def measure(args):
    """One optimisation step of each trainer on the same batch of Shapes' base classes."""
    own_methods.load(args.trainers)
    taught = {method.trainer for method in METHODS if method.teacher_key}
    names = args.trainers or in_papers_order(set(TRAINER_REGISTRY.registered_names()) - taught)
    with tempfile.TemporaryDirectory() as output:
        arguments = {name: (name, args.root, args.batch_size, output) for name in names}
        print("Memory, a process for each trainer; then time, in turns", file=sys.stderr)
        memory = {name: in_fresh_process(memory_of_steps, *of) for name, of in arguments.items()}
        built = {name: build(*arguments[name]) for name in arguments if memory[name] is not None}
        if not built:
            raise UserError(f"none of these trainers learns anything: {', '.join(names)}")
        first = next(iter(built.values()))
        batch = next(iter(first.train_loader_x))
        ways = {name: lambda t=trainer: t.forward_backward(batch) for name, trainer in built.items()}
        milliseconds = {name: 1000 * s.wall for name, s in interleaved(ways, args.rounds, first.device.type).items()}
    launched = {
        m.trainer: launches.of_step(Subject(m, GEOMETRIES["tiny"], "cpu")) for m in METHODS if m.trainer in built
    }
    of_first = next(iter(milliseconds.values()))
    rows = [
        [name, ms, ms / of_first, ms / args.batch_size, memory[name], launched.get(name)]
        for name, ms in milliseconds.items()
    ]
    return Table(
        f"Optimisation step on {first.num_classes} classes, batch {args.batch_size} for all, {first.device.type}; and "
        f"a GPU's launches for {launches.PICTURES} pictures, {launches.CLASSES} classes, 12 layers, {launches.PREC}",
        [
            *(("", ""), ("ms", ".1f"), (f"/ {rows[0][0]}", ".3f"), ("ms per image", ".2f"), ("peak MiB", ".0f")),
            ("launches", "d"),
        ],
        rows,
    )


def build(name, root, batch_size, output):
    """A trainer on Shapes' base classes, ready for a step that is not an epoch's last."""
    folder = {method.trainer: method.config_folder for method in METHODS}.get(name, f"configs/trainers/{name}")
    command = (
        f"--seed 1 --trainer {name} --dataset-config-file {REPOSITORY}/configs/datasets/shapes.yaml "
        f"--config-file {REPOSITORY / folder}/shapes.yaml"
    )
    pairs = f"DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base DATALOADER.TRAIN_X.BATCH_SIZE {batch_size}"
    pairs += " DATALOADER.STORED_VIEWS 0"  # whose batches have no pixels for the methods that need them
    pairs += " OPTIM.MAX_EPOCH 2"  # for which a training of counted steps has enough of them at any batch size
    arguments = [*command.split(), "--root", root, "--output-dir", output, *pairs.split()]
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = build_trainer(config_of(arguments))
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 2
    trainer.set_model_mode("train")
    return trainer


def memory_of_steps(*arguments):
    """Peak MiB of a process that takes three steps; None if there is nothing to train in steps."""
    trainer = build(*arguments)
    if trainer.optim is None or trainer.fit:
        return None
    batch = next(iter(trainer.train_loader_x))
    for _ in range(3):
        trainer.forward_backward(batch)
    return peak_memory_mb()
