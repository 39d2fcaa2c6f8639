"""Text encoder of ViT-B/16's geometry: cut against full context."""

import torch

from trainers.prompting.encoders import TextEncoder
from trainers.prompting.prompt_text import PromptSequences, init_ctx

# isort: split
from clip.model import CLIP

from .table import Table, ratios
from .timing import interleaved

COLOURS = "red green blue yellow black".split()
NOUNS = "airplane accordion butterfly camera dolphin elephant ferry gramophone helicopter lamp".split()


def add_arguments(parser):
    parser.add_argument("--classes", type=int, default=50, help="number of class prompts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)


def measure(args):
    """Encode class prompts, forward and backward, with all 77 positions and with the context cut."""
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
    return Table(
        f"Text encoder of ViT-B/16, {len(names)} classes, forward and backward, {args.device}",
        [("", ""), ("ms", ".1f"), (f"/ {next(iter(seconds))}", ".3f")],
        ratios(seconds),
    )
