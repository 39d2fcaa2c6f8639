"""Compare the time of two ways of doing the same thing, in one run; ratios hold where milliseconds do not.

python tools/bench.py text                              cut against full context, ViT-B/16 geometry
python tools/bench.py step --trainers CoOp E2MIM        one optimisation step on Shapes' base classes
"""

import argparse
import os
import statistics
import sys
import time

REPOSITORY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
sys.path.insert(0, REPOSITORY)

import torch  # noqa: E402
from tabulate import tabulate  # noqa: E402

import datasets  # noqa: E402
import train  # noqa: E402
import trainers  # noqa: E402


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


def report(seconds, title):
    first = next(iter(seconds.values()))
    rows = [(name, f"{1000 * s:.1f}", f"{s / first:.3f}") for name, s in seconds.items()]
    print(title)
    print(tabulate(rows, headers=["", "ms", f"/ {next(iter(seconds))}"], tablefmt="github", disable_numparse=True))


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

    ways = {name: encode(s) for name, s in sequences.items()}
    report(
        interleaved(ways, args.rounds, args.device),
        f"Text encoder of ViT-B/16, {len(names)} classes, forward and backward, {args.device}",
    )


COLOURS = "red green blue yellow black".split()
NOUNS = "airplane accordion butterfly camera dolphin elephant ferry gramophone helicopter lamp".split()


def bench_step(args):
    """One optimisation step of each trainer on the same batch of Shapes' base classes."""
    train.import_all(trainers)
    train.import_all(datasets)
    built, batch = {}, None
    for name in args.trainers:
        cfg = train.setup_cfg(
            train.parse_args(
                f"--root {args.root} --seed 1 --trainer {name} --output-dir output/bench "
                f"--dataset-config-file {REPOSITORY}/configs/datasets/shapes.yaml "
                f"--config-file {REPOSITORY}/configs/trainers/{name}/shapes.yaml "
                f"DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base".split()
            )
        )
        trainer = built[name] = train.build_trainer(cfg)
        trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 2  # not the epoch's last batch
        trainer.set_model_mode("train")
        batch = batch or next(iter(trainer.train_loader_x))
    ways = {name: lambda t=trainer: t.forward_backward(batch) for name, trainer in built.items()}
    device = next(iter(built.values())).device.type
    report(interleaved(ways, args.rounds, device), f"Optimisation step, batch {len(batch['label'])}, {device}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    text = commands.add_parser("text", help=bench_text.__doc__)
    text.add_argument("--classes", type=int, default=50, help="number of class prompts")
    text.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    text.add_argument("--rounds", type=int, default=5)
    text.set_defaults(run=bench_text)
    step = commands.add_parser("step", help=bench_step.__doc__)
    step.add_argument("--trainers", nargs="+", default=["CoOp", "E2MIM"])
    step.add_argument("--root", default=os.path.join(REPOSITORY, "data"), help="root of the data sets")
    step.add_argument("--rounds", type=int, default=30)
    step.set_defaults(run=bench_step)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
