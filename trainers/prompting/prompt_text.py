"""Prompt text: from class names and context vectors to the embedded sequences the text encoder reads."""

from typing import List, Sequence, Tuple

import clip
import torch
from clip.clip import _tokenizer
from torch import nn

from .clip_loader import CONTEXT_LENGTH
from .errors import UserError, up_to

CTX_STD = 0.02  # standard deviation of random context vectors (CoOp)


def words_of(name):
    """The words that a class name or a CTX_INIT stands for: underscores are spaces."""
    return name.replace("_", " ")


def n_tokens(text: str) -> int:
    return len(_tokenizer.encode(text))


def fill_template(template, classnames):
    """One prompt per class: `template` has {} once, where the name goes; other braces are braces."""
    return [template.replace("{}", words_of(name)) for name in classnames]


def tokenize(prompts: List[str]) -> torch.Tensor:
    """Token ids of prompts that fit: (n, 77) int64."""
    return clip.tokenize(prompts).long()


def tokenize_classes(classnames: Sequence[str], template: str, prefix: str = "", key: str = "N_CTX") -> torch.Tensor:
    """Token ids of one prompt per class, `prefix` and then `template` with its name: (n_cls, 77) int64.

    key: the config key of the number of tokens in `prefix`, for errors.
    Raises UserError for a class without a name and for a prompt that does not fit.
    """
    for label, name in enumerate(classnames):
        if not any(map(str.isalnum, name)) and n_tokens(words_of(name)) == 0:  # the tokenizer takes its time
            raise UserError(f'Class {label} of the data set has the name "{name}", which has no words: give it some.')
    prompts = [f"{prefix} {prompt}" if prefix else prompt for prompt in fill_template(template, classnames)]
    try:
        return tokenize(prompts)
    except RuntimeError as error:
        lengths = [2 + n_tokens(prompt) for prompt in prompts]
        longest = lengths.index(max(lengths))
        raise _too_long(lengths[longest], words_of(classnames[longest]), template, prefix, key) from error


def _too_long(length, name, template, prefix, key):
    n_prefix, n_name = n_tokens(prefix), n_tokens(name)
    n_template, too_many = length - 2 - n_prefix - n_name, length - CONTEXT_LENGTH
    counts = f'{n_name} of the class name, {n_template} of the template "{template}"'
    remedies = [(n_name, "shorten the class name"), (n_template, "shorten the template")]
    if prefix:
        counts = f"{n_prefix} of the context, {counts}"
        remedies.append((n_prefix, f"lower {key}, or shorten {_ctx_init(key)} if it has words,"))
    return UserError(
        f'The prompt of class "{name}" has {length} tokens, but CLIP reads {CONTEXT_LENGTH}: {counts}, 2 for start and '
        f"end; {max(remedies)[1]} by {too_many}."
    )


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


def init_ctx(clip_model, n_ctx, words="", n_cls=None, key="N_CTX", room=CONTEXT_LENGTH - 3):
    """Context vectors at the start of training, and the words that stand for them.

    Args:
        n_ctx: number of context tokens, if they are drawn from N(0, 0.02^2).
        words: if not empty, the context starts as the embedding of these words, one vector per token.
        n_cls: if given, each class has a context of its own.
        key: the config key of `n_ctx`, for errors and notes; CTX_INIT stands beside it.
        room: how many context tokens fit; by default beside start, end and a class name.

    Returns:
        ctx, float32 (n_ctx, dim) or (n_cls, n_ctx, dim), and the prompt's first words ("X X X X" if random).
    """
    if not words:
        return _random_ctx(clip_model, n_ctx, n_cls, key, room), " ".join(["X"] * n_ctx)
    ctx, words = words_ctx(clip_model, words, key, room)
    if len(ctx) != n_ctx:
        print(f'Note: {_ctx_init(key)} "{words}" has {len(ctx)} tokens, so {key} {n_ctx} does not count')
    return (ctx if n_cls is None else ctx.expand(n_cls, -1, -1)).clone(), words


def words_ctx(clip_model, words, key="N_CTX", room=CONTEXT_LENGTH - 3):
    """The embeddings of the words of CTX_INIT, float32 (n_tokens, dim), and the words themselves, tidied.

    Raises UserError if there are none or too many, or braces: the class name has its place behind them.
    """
    name, tidied = _ctx_init(key), words_of(words).strip()
    if "{" in tidied or "}" in tidied:
        raise UserError(f'{name} "{words}" has braces: write the words alone, the class name follows them by itself.')
    n = n_tokens(tidied)
    if n == 0:
        raise UserError(f'{name} "{words}" has no words: write some, or "" to start at random.')
    check_room(n, f'The number of tokens of {name} "{words}"', room)
    return embed(clip_model, tokenize([tidied]))[0, 1 : 1 + n].float(), tidied


def _random_ctx(clip_model, n_ctx, n_cls, key, room):
    check_room(n_ctx, key, room)
    ctx = torch.empty(n_ctx, clip_model.ln_final.weight.shape[0])
    if n_cls is not None:
        ctx = ctx.expand(n_cls, -1, -1).clone()
    return nn.init.normal_(ctx, std=CTX_STD)


def check_room(n_ctx: int, key: str, room: int = CONTEXT_LENGTH - 3) -> None:
    """Raise UserError if `key`, the number of context tokens, is none, or more than fit; see `init_ctx`."""
    if n_ctx < 1:
        raise UserError(f"{key} is {n_ctx}: choose {up_to(room)}.")
    if n_ctx > room:
        raise UserError(
            f"{key} is {n_ctx}, but at most {room} of CLIP's {CONTEXT_LENGTH} tokens can be context: bring it down to "
            f"{room} or fewer."
        )


def _ctx_init(key):
    node = key.rpartition(".")[0]
    return f"{node}.CTX_INIT" if node else "CTX_INIT"


class PromptSequences(nn.Module):
    """Places context vectors around the class names' embedded tokens: [SOS, ctx, class name, ".", EOS, pad...].

    They are cut after the longest one (see `end_of_text`) or at `min_length`.

    Args:
        prefix: the words that hold the context's place ("X X X X" or those of CTX_INIT).
        position: "end" (class name after the context), "middle" or "front" (CoOp's CLASS_TOKEN_POSITION).
        min_length: keep at least so many positions.
        ending: the words behind the context, {} for the class name.
        key: the config key of `n_ctx`, for errors.

    Attributes:
        tokenized_prompts: (n_cls, 77) token ids.  eos: (n_cls,) position that is read.  length: after the cut.
    """

    def __init__(self, clip_model, classnames, prefix, n_ctx, position="end", min_length=0, ending="{}.", key="N_CTX"):
        super().__init__()
        if position not in ("end", "middle", "front"):
            raise UserError(f'CLASS_TOKEN_POSITION "{position}" is unknown: choose end, middle or front.')
        self.tokenized_prompts = tokenize_classes(classnames, ending, prefix, key)
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
            end = 1 + n_ctx + n_tokens(words_of(name))
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

    def __init__(self, key, clip_model, classnames, n_ctx, words="", csc=False, position="end", ending="{}."):
        super().__init__()
        ctx, words = init_ctx(clip_model, n_ctx, words, len(classnames) if csc else None, key)
        print(f'Initial context: "{words}" ({ctx.shape[-2]} tokens)')
        self.ctx = nn.Parameter(ctx)
        self.class_specific = csc  # then it fits no other classes
        self.sequences = PromptSequences(clip_model, classnames, words, ctx.shape[-2], position, ending=ending, key=key)

    def forward(self):
        return self.sequences(self.ctx)  # (n_cls, length, dim)
