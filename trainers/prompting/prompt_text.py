"""Prompt text: from class names and context vectors to the embedded sequences the text encoder reads."""

from typing import Tuple

import clip
import torch
from clip.simple_tokenizer import SimpleTokenizer
from torch import nn

_tokenizer = SimpleTokenizer()
CTX_STD = 0.02  # standard deviation of random context vectors (CoOp)


def words_of(name):
    """The words that a class name or a CTX_INIT stands for: underscores are spaces."""
    return name.replace("_", " ")


def fill_template(template, classnames):
    """One prompt per class."""
    return [template.format(words_of(name)) for name in classnames]


def tokenize(prompts):
    """Token ids of a list of prompts: (n, 77) int64. Raises ValueError for a prompt that does not fit."""
    try:
        return clip.tokenize(prompts).long()
    except RuntimeError as error:
        longest = max(prompts, key=lambda p: len(_tokenizer.encode(p)))
        raise ValueError(f'Prompt "{longest}" is longer than CLIP\'s 77 tokens: shorten the class name.') from error


def end_of_text(tokens: torch.Tensor) -> Tuple[torch.Tensor, int]:
    """Where prompts end: token ids (n, 77) -> eos (n,), the position that is read, and the length of the longest.

    EOS is the largest id. The text encoder is causal and read at EOS, so that sequences may be cut after the longest
    one: 77 positions become 10 to 20 with the same result.
    """
    eos = tokens.argmax(dim=-1)
    return eos, int(eos.max()) + 1


def embed(clip_model, tokens):
    """Token ids (n, length) -> their embeddings (n, length, dim), without gradient, where the model is."""
    with torch.no_grad():
        return clip_model.token_embedding(tokens.to(clip_model.token_embedding.weight.device))


def init_ctx(clip_model, n_ctx, words="", n_cls=None):
    """Context vectors at the start of training, and the words that stand for them.

    Args:
        n_ctx: number of context tokens, if they are drawn from N(0, 0.02^2).
        words: if not empty, the context starts as the embedding of these words, one vector per token.
        n_cls: if given, each class has a context of its own.

    Returns:
        ctx, float32 (n_ctx, dim) or (n_cls, n_ctx, dim), and the prompt's first words ("X X X X" if random).
    """
    if words:
        words = words_of(words).strip()
        n_ctx = len(_tokenizer.encode(words))
        ctx = embed(clip_model, tokenize([words]))[0, 1 : 1 + n_ctx].float()
    else:
        words = " ".join(["X"] * n_ctx)
        ctx = torch.empty(n_ctx, clip_model.ln_final.weight.shape[0])
        if n_cls is not None:
            ctx = ctx.expand(n_cls, -1, -1).clone()
        nn.init.normal_(ctx, std=CTX_STD)
        return ctx, words
    return (ctx if n_cls is None else ctx.expand(n_cls, -1, -1)).clone(), words


class PromptSequences(nn.Module):
    """Places context vectors around the class names' embedded tokens: [SOS, ctx, class name, ".", EOS, pad...].

    They are cut after the longest one (see `end_of_text`) or at `min_length`.

    Args:
        prefix: the words that hold the context's place ("X X X X" or those of CTX_INIT).
        position: "end" (class name after the context), "middle" or "front" (CoOp's CLASS_TOKEN_POSITION).
        min_length: keep at least so many positions.
        ending: the words behind the context, {} for the class name.

    Attributes:
        tokenized_prompts: (n_cls, 77) token ids.  eos: (n_cls,) position that is read.  length: after the cut.
    """

    def __init__(self, clip_model, classnames, prefix, n_ctx, position="end", min_length=0, ending="{}."):
        super().__init__()
        if position not in ("end", "middle", "front"):
            raise ValueError(f'CLASS_TOKEN_POSITION "{position}" is unknown: choose end, middle or front.')
        self.tokenized_prompts = tokenize(fill_template(f"{prefix} {ending}", classnames))
        eos, length = end_of_text(self.tokenized_prompts)
        self.length = max(length, min(min_length, self.tokenized_prompts.shape[1]))
        embedding = embed(clip_model, self.tokenized_prompts[:, : self.length])
        # They belong to these class names, so checkpoints leave them out (persistent=False).
        self.register_buffer("eos", eos, persistent=False)  # (n_cls,)
        self.register_buffer("token_prefix", embedding[:, :1], persistent=False)  # (n_cls, 1, dim)
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :], persistent=False)  # (n_cls, *, dim)
        order = None if position == "end" else self._order(classnames, n_ctx, position)
        self.register_buffer("order", order, persistent=False)  # (n_cls, length)

    def _order(self, classnames, n_ctx, position):
        before = n_ctx // 2 if position == "middle" else 0  # context tokens in front of the class name
        rows = []
        for name in classnames:
            end = 1 + n_ctx + len(_tokenizer.encode(words_of(name)))
            index = list(range(self.length))
            rows.append(index[: 1 + before] + index[1 + n_ctx : end] + index[1 + before : 1 + n_ctx] + index[end:])
        return torch.tensor(rows)

    def forward(self, ctx):
        """ctx (n_ctx, dim) or (n_cls, n_ctx, dim) -> (n_cls, length, dim)."""
        if ctx.dim() == 2:
            ctx = ctx.expand(len(self.token_prefix), -1, -1)
        x = torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)
        if self.order is not None:
            x = x.gather(1, self.order.unsqueeze(-1).expand_as(x))
        return x


class ContextLearner(nn.Module):
    """CoOp's learned context: `ctx` (n_ctx, dim), or with `csc` (n_cls, n_ctx, dim), around the class names."""

    def __init__(self, clip_model, classnames, n_ctx, words="", csc=False, position="end", ending="{}."):
        super().__init__()
        ctx, words = init_ctx(clip_model, n_ctx, words, len(classnames) if csc else None)
        print(f'Initial context: "{words}" ({ctx.shape[-2]} tokens)')
        self.ctx = nn.Parameter(ctx)
        self.class_specific = csc  # then it fits no other classes
        self.sequences = PromptSequences(clip_model, classnames, words, ctx.shape[-2], position, ending=ending)

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, dim)
