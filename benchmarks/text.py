"""Text encoder of ViT-B/16's geometry: the plain way against ours."""

import torch
from torch.nn import functional as F

from trainers.backbone.clip_loader import cast_weights
from trainers.prompting.encoders import TextEncoder
from trainers.prompting.prompt_text import PromptSequences, init_ctx

# isort: split
from clip.model import CLIP

from .table import Table, ratios
from .timing import interleaved
from .vit import GEOMETRY, names_of


def add_arguments(parser):
    parser.add_argument("--classes", type=int, default=50, help="number of class prompts")
    parser.add_argument("--context", type=int, default=4, help="number of context tokens")
    parser.add_argument("--names", metavar="FILE", help="class names, one a line (default: of two words each)")
    parser.add_argument("--prec", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)


def plain(clip_model, sequences, length):
    """The way of the public code: whole sequences through `nn.MultiheadAttention`, cut after `length` positions."""
    tokens = sequences.tokenized_prompts.to(clip_model.positional_embedding.device)
    embedding = clip_model.token_embedding(tokens)[:, :length]
    mask = torch.full((length, length), float("-inf"), device=tokens.device).triu(1)
    n_cls, eos, dtype = len(tokens), tokens.argmax(dim=-1), clip_model.text_projection.dtype

    def encode(ctx):
        x = torch.cat([embedding[:, :1], ctx.expand(n_cls, -1, -1), embedding[:, 1 + len(ctx) :]], dim=1)
        x = (x + clip_model.positional_embedding[:length]).to(dtype).transpose(0, 1)
        for block in clip_model.transformer.resblocks:
            h = block.ln_1(x)
            x = x + block.attn(h, h, h, need_weights=False, attn_mask=mask.to(dtype))[0]
            x = x + block.mlp(block.ln_2(x))
        x = x.transpose(0, 1)[torch.arange(n_cls), eos]
        return clip_model.ln_final(x) @ clip_model.text_projection

    return encode


def measure(args):
    """Encode class prompts, forward and backward: all 77 positions, the context cut, and nothing twice (ours)."""
    torch.manual_seed(0)
    clip_model = CLIP(*GEOMETRY).requires_grad_(False)
    if args.names:
        with open(args.names) as file:
            names = [line.strip() for line in file if line.strip()][: args.classes]
    else:
        names = names_of(args.classes)
    ctx, words = init_ctx(clip_model, args.context)
    sequences = PromptSequences(clip_model, names, words, args.context).to(args.device)
    clip_model.to(args.device)
    if args.prec == "bf16":
        cast_weights(clip_model, torch.bfloat16)
    ctx = ctx.to(args.device).requires_grad_()
    encoder, longest = TextEncoder(clip_model), max(sequences.groups.lengths)
    ways = {
        "77 positions": plain(clip_model, sequences, 77),
        f"{longest} positions": plain(clip_model, sequences, longest),
        "ours": lambda ctx: encoder(sequences(ctx)),
    }
    features = {name: F.normalize(way(ctx).float(), dim=-1) for name, way in ways.items()}
    error = max((f - features["77 positions"]).abs().max().item() for f in features.values())
    steps = {name: lambda way=way: way(ctx).float().sum().backward() for name, way in ways.items()}
    seconds = interleaved(steps, args.rounds, args.device)
    return Table(
        f"Text encoder of ViT-B/16, {len(names)} classes, {args.context} context tokens, {args.prec}, forward and "
        f"backward, {args.device}; features differ by at most {error:.1e}",
        [("", ""), ("ms", ".1f"), (f"/ {next(iter(seconds))}", ".3f")],
        ratios(seconds),
    )
