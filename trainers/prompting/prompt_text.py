"""Prompt text: from class names and context vectors to the embedded sequences the text encoder reads."""

from functools import lru_cache
from typing import List, Optional, Sequence, Tuple

import clip
import torch
from clip.clip import _tokenizer
from torch import nn

from ..backbone.clip_loader import CONTEXT_LENGTH
from ..errors import UserError, up_to
from .text_tokens import Groups, TextTokens

CTX_STD = 0.02  # standard deviation of random context vectors (CoOp)
# Tokens whose computing costs as much as one group of sequences more (our choice)
GROUP_COST = {"cpu": 32, "cuda": 16384}


def words_of(name):
    """The words that a class name or a CTX_INIT stands for: underscores are spaces."""
    return name.replace("_", " ")


@lru_cache(maxsize=None)
def n_tokens(text: str) -> int:
    return len(_tokenizer.encode(text))


def word_of(token: int) -> str:
    """The word of a token id, with a "-" behind it if it goes on. Bytes that are no whole character are in hex."""
    spelled = _tokenizer.decoder[token]
    whole = spelled.endswith("</w>") or spelled.startswith("<|")
    letters = bytes(_tokenizer.byte_decoder[c] for c in spelled.replace("</w>", ""))
    return letters.decode("utf-8", errors="backslashreplace") + ("" if whole else "-")


def fill_template(template, classnames):
    """One prompt per class: `template` has {} once, where the name goes; other braces are braces."""
    return [template.replace("{}", words_of(name)) for name in classnames]


def tokenize(prompts: List[str]) -> torch.Tensor:
    """Token ids of prompts that fit: (n, 77) int64."""
    return clip.tokenize(prompts).long()


def tokenize_cut(texts: Sequence[str]) -> torch.Tensor:
    """Token ids of texts, whose ends are left out where they are too long: (n, 77) int64. Older clips cut none."""
    tokens = torch.zeros(len(texts), CONTEXT_LENGTH, dtype=torch.long)
    start, end = (_tokenizer.encoder[f"<|{which}oftext|>"] for which in ("start", "end"))
    for row, text in zip(tokens, texts):
        ids = [start, *_tokenizer.encode(text)[: CONTEXT_LENGTH - 2], end]
        row[: len(ids)] = torch.tensor(ids)
    return tokens


def tokenize_classes(classnames: Sequence[str], template: str, prefix: str = "", key: str = "N_CTX") -> torch.Tensor:
    """Token ids of one prompt per class, `prefix` and then `template` with its name: (n_cls, 77) int64.

    key: the config key of the number of tokens in `prefix`, for errors.
    Raises UserError for a class without a name and for a prompt that does not fit.
    """
    for label, name in enumerate(classnames):
        if n_tokens(words_of(name)) == 0:
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


def beginning(tokens, eos):
    """How many tokens all sequences begin with, their ends left out: token ids (n, length), eos (n,)."""
    same = int((tokens == tokens[0]).all(dim=0).long().cumprod(0).sum())
    return min(same, int(eos.min()))


def group(lengths: torch.Tensor, cost: int) -> Tuple[torch.Tensor, Groups]:
    """Sequences of these lengths (n,) as groups of about equal length, and their order (n,): the shortest first.

    A sequence is as long as the longest of its group; as many groups are made as pay, each at `cost` tokens.
    """
    order = (lengths * len(lengths) + torch.arange(len(lengths))).argsort()
    each, counts = (t.tolist() for t in lengths.unique(return_counts=True))
    best: List[Tuple[int, Groups]] = [(0, Groups([], []))]  # of the i shortest lengths: cost and groups
    for i in range(1, len(each) + 1):
        options = []
        for j in range(i):
            n = sum(counts[j:i])
            options.append((best[j][0] + n * each[i - 1] + cost, j, n))
        total, j, n = min(options)
        groups = best[j][1]
        best.append((total, Groups([*groups.counts, n], [*groups.lengths, each[i - 1]])))
    return order, best[-1][1]


class PromptSequences(nn.Module):
    """Places context vectors around the class names' embedded tokens: [SOS, ctx, class name, ".", EOS].

    Args:
        prefix: the words that hold the context's place ("X X X X" or those of CTX_INIT).
        position: "end" (class name after the context), "middle" or "front" (CoOp's CLASS_TOKEN_POSITION).
        csc: whether each class has a context of its own.
        min_length: keep at least so many positions; what lies behind EOS changes no feature, but a hook may read it.
        ending: the words behind the context, {} for the class name.
        key: the config key of `n_ctx`, for errors.
        tokens: token ids (n, 77) of texts that are taken as they are, in the place of class names and words.

    Attributes:
        tokenized_prompts: (n_cls, 77) token ids.
    """

    def __init__(
        self,
        clip_model,
        classnames=(),
        prefix="",
        n_ctx=0,
        position="end",
        csc=False,
        min_length=0,
        ending="{}.",
        key="N_CTX",
        tokens=None,
    ):
        super().__init__()
        if position not in ("end", "middle", "front"):
            raise UserError(f'CLASS_TOKEN_POSITION "{position}" is unknown: choose end, middle or front.')
        if tokens is None:
            tokens = tokenize_classes(classnames, ending, prefix, key)
        self.tokenized_prompts = tokens
        n_cls, eos = len(tokens), tokens.argmax(dim=-1)
        # Which context vector stands in a position; -1: the token itself
        slots = torch.full_like(tokens, -1)
        slots[:, 1 : 1 + n_ctx] = torch.arange(n_ctx)
        self.n_shared = beginning(tokens, eos)
        if position != "end":
            before = n_ctx // 2 if position == "middle" else 0  # context tokens in front of the class name
            order = self._order(classnames, n_ctx, before, tokens.shape[1])
            tokens, slots = tokens.gather(1, order), slots.gather(1, order)
            self.n_shared = 1 + before
        if csc:
            slots = torch.where(slots < 0, slots, slots + n_ctx * torch.arange(n_cls).unsqueeze(1))
            self.n_shared = 1
        order, self.groups = group((eos + 1).clamp(min=min_length), GROUP_COST[clip_model.logit_scale.device.type])

        def own(x):  # (n_cls, 77) -> flat, as TextTokens has them
            parts = zip(order.split(self.groups.counts), self.groups.lengths)
            return torch.cat([x[i, self.n_shared : length].flatten() for i, length in parts])

        # They belong to these class names, so checkpoints leave them out (persistent=False).
        for name, x in (("shared", tokens[0, : self.n_shared]), ("own", own(tokens))):
            self.register_buffer(name, embed(clip_model, x), persistent=False)  # (number of tokens, dim)
        for name, x in (("shared", slots[0, : self.n_shared]), ("own", own(slots))):
            self.register_buffer(f"{name}_places", (x >= 0).nonzero().flatten(), persistent=False)
            self.register_buffer(f"{name}_ctx", x[x >= 0], persistent=False)  # row of the context that goes there
        self.register_buffer("rows", order, persistent=False)
        self.register_buffer("eos", eos[order], persistent=False)
        self.to(clip_model.token_embedding.weight.device)  # who encodes it once moves it nowhere

    @staticmethod
    def _order(classnames, n_ctx, before, length):
        rows = []
        for name in classnames:
            end = 1 + n_ctx + n_tokens(words_of(name))
            index = list(range(length))
            rows.append(index[: 1 + before] + index[1 + n_ctx : end] + index[1 + before : 1 + n_ctx] + index[end:])
        return torch.tensor(rows)

    def forward(self, ctx: Optional[torch.Tensor] = None) -> TextTokens:
        """ctx (n_ctx, dim), or with csc (n_cls, n_ctx, dim) -> the prompts of all classes."""
        shared, own = self.shared, self.own
        if ctx is not None:
            ctx = ctx.flatten(0, -2)
            shared = shared.index_copy(0, self.shared_places, ctx.index_select(0, self.shared_ctx))
            own = own.index_copy(0, self.own_places, ctx[self.own_ctx]) if len(self.own_places) else own
        return TextTokens(torch.cat([shared, own]), self.n_shared, self.groups, self.rows, self.eos)

    def of_images(self, ctx: torch.Tensor) -> TextTokens:
        """A context for each image, ctx (B, n_ctx, dim) -> prompts number image * n_cls + class."""
        n_img, n_cls = len(ctx), len(self.rows)
        shared = self.shared.expand(n_img, -1, -1).index_copy(1, self.shared_places, ctx[:, self.shared_ctx])
        counts = self.groups.counts
        sizes = [n * (length - self.n_shared) for n, length in zip(*self.groups)]
        own = [tokens.repeat(n_img, 1) for tokens in self.own.split(sizes)]
        image = torch.arange(n_img, device=ctx.device).unsqueeze(1)
        owner = torch.cat([image.expand(-1, n).flatten() for n in counts])
        rows = torch.cat([(image * n_cls + rows).flatten() for rows in self.rows.split(counts)])
        eos = torch.cat([eos.repeat(n_img) for eos in self.eos.split(counts)])
        groups = Groups([n_img * n for n in counts], self.groups.lengths)
        return TextTokens(torch.cat([shared.flatten(0, 1), *own]), self.n_shared, groups, rows, eos, owner)


class ContextLearner(nn.Module):
    """CoOp's learned context: `ctx` (n_ctx, dim), or with `csc` (n_cls, n_ctx, dim), around the class names."""

    def __init__(self, key, clip_model, classnames, n_ctx, words="", csc=False, position="end", ending="{}."):
        super().__init__()
        ctx, words = init_ctx(clip_model, n_ctx, words, len(classnames) if csc else None, key)
        print(f'Initial context: "{words}" ({ctx.shape[-2]} tokens)')
        self.ctx = nn.Parameter(ctx)
        self.class_specific = "a context for each" if csc else ""  # then it fits no other classes
        self.instead = ", or train a context for all (CSC False)"
        n_ctx = ctx.shape[-2]
        self.sequences = PromptSequences(clip_model, classnames, words, n_ctx, position, csc, ending=ending, key=key)

    def forward(self):
        return self.sequences(self.ctx)
