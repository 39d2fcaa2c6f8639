"""Train shapes-tiny, the small CLIP that the repository bundles for the Shapes data set.

    python tools/pretrain_shapes.py --output assets/shapes-tiny.pt

Images and captions come from `datasets/shapes_world.py` and `datasets/shapes_captions.py`; the loss is CLIP's
(Radford et al. 2021, symmetric InfoNCE). Stop it at any time: the same command goes on from its last checkpoint
(`<output>.resume`) and ends with the same weights. The recipe's numbers are our choice; `assets/MODEL_CARD.md` says
what they gave.
"""

import argparse
import math
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torchvision_cpu  # noqa: F401, I001  (before clip, which imports torchvision)
import numpy as np
import torch
import torch.nn.functional as F
from clip.clip import _tokenizer as tokenizer
from clip.model import CLIP
from tqdm import tqdm

from datasets.shapes_captions import caption, words
from datasets.shapes_world import (
    CLASSNAMES,
    CLEAN,
    COLOURS,
    LARGE,
    PATTERNS,
    SHAPES,
    SIZE,
    SPLITS,
    STYLES,
    draw,
    picture,
    several,
    single,
)

TEMPLATE = "a picture of a {}."
PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, CONTEXT, VOCABULARY = 8, 128, 6, 4, 77, 49408
BATCH, RATE, WEIGHT_DECAY, WARM_UP = 256, 1e-3, 0.1, 60  # warm-up in steps
LARGE_UNTIL, PLAIN_UNTIL = (
    0.12,
    0.25,
)  # curriculum, as shares of the steps: large upright objects, plain single ones
KEPT, SOME_FROM, SOME_UNTIL = (
    48,
    0.12,
    0.8,
)  # of 64 patches this many are looked at between these shares of the steps
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's pixel statistics
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


# --- data -------------------------------------------------------------------------------------------------------


def sample_scene(index, seed):
    """Scene number `index` and its look: half of them are plain single objects, the others something richer."""
    rng = random.Random(f"scene {seed} {index}")
    colour, shape = rng.choice(list(COLOURS)), rng.choice(list(SHAPES))
    sort = rng.random()
    if sort < 0.15:
        return single(rng, LARGE, colour, shape), LARGE
    if sort < 0.50:
        return single(rng, CLEAN, colour, shape), CLEAN
    style = rng.choice(STYLES) if rng.random() < 0.4 else "normal"
    pattern = rng.choice(PATTERNS)
    if sort < 0.72:
        return single(rng, CLEAN, colour, shape, pattern, style), CLEAN
    if sort < 0.92:
        pattern = pattern if rng.random() < 0.3 else "plain"
        return several(rng, CLEAN, [(colour, shape, pattern)] * rng.choice((2, 3, 4, 5)), style), CLEAN
    while True:
        second = (rng.choice(list(COLOURS)), rng.choice(list(SHAPES)), "plain")
        if second[:2] != (colour, shape) and {colour, second[0]} != {"white", "black"}:
            return several(rng, CLEAN, [(colour, shape, "plain"), second], style), CLEAN


def _draw_one(job):
    index, seed = job
    scene, look = sample_scene(index, seed)
    return scene, look is LARGE, draw(scene, f"pretrain {seed} {index}", look)


def make_pictures(size, seed):
    """Scenes (list), which of them are large and upright (list of bool), pictures uint8 [size, SIZE, SIZE, 3]."""
    scenes, large, pictures = [], [], torch.empty(size, SIZE, SIZE, 3, dtype=torch.uint8)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        jobs = pool.imap(_draw_one, ((i, seed) for i in range(size)), chunksize=256)
        for scene, is_large, pixels in tqdm(jobs, total=size, desc="pictures", mininterval=5):
            pictures[len(scenes)] = torch.from_numpy(pixels)
            scenes.append(scene)
            large.append(is_large)
    return scenes, large, pictures


class Groups:
    """Which pictures to put into a batch."""

    def __init__(self, scenes, large):
        first = [s.items[0] for s in scenes]
        self.all = np.arange(len(scenes))
        self.colour = {c: np.array([i for i, o in enumerate(first) if o.colour == c]) for c in COLOURS}
        self.shape = {s: np.array([i for i, o in enumerate(first) if o.shape == s]) for s in SHAPES}
        plain = [len(s.items) == 1 and s.style == "normal" and s.items[0].pattern == "plain" for s in scenes]
        self.stages = (np.array(large), np.array(plain), np.ones(len(scenes), dtype=bool))

    def batch(self, rng, stage, size):
        """Indices of a batch. Half of the batches share one or two colours, so that telling shapes apart is needed
        (colours are learned long before shapes), some share two shapes, the rest are drawn from everything."""
        sort = rng.random() if stage else 1.0
        if sort < 0.5:
            pool = np.concatenate([self.colour[c] for c in rng.sample(list(COLOURS), rng.choice((1, 2)))])
        elif sort < 0.6:
            pool = np.concatenate([self.shape[s] for s in rng.sample(list(SHAPES), 2)])
        else:
            pool = self.all
        pool = pool[self.stages[stage][pool]] if self.stages[stage][pool].any() else pool
        return pool[np.random.RandomState(rng.getrandbits(32)).randint(len(pool), size=size)]


class Vocabulary:
    """Token ids of captions, and their numbers among the rows of the embedding that training touches."""

    def __init__(self):
        marks = ("<|startoftext|>", "<|endoftext|>")
        self.start, self.end = (tokenizer.encoder[m] for m in marks)
        self.ids = {w: tokenizer.encode(w) for w in words()}
        self.rows = sorted({i for ids in self.ids.values() for i in ids} | {self.start, self.end})
        self.row_of = {i: n for n, i in enumerate(self.rows)}
        self.cache = {}

    def encode(self, text):
        """Rows of a sentence's tokens, with both marks."""
        if text not in self.cache:
            ids = [self.start, *tokenizer.encode(text), self.end]
            self.cache[text] = [self.row_of[i] for i in ids]
        return self.cache[text]

    def batch(self, texts):
        """Rows [n, longest] and the position of each sentence's end [n]."""
        coded = [self.encode(t) for t in texts]
        longest = max(map(len, coded))
        rows = torch.tensor([c + [0] * (longest - len(c)) for c in coded])
        return rows, torch.tensor([len(c) - 1 for c in coded])


def augment(pictures, generator):
    """Normalised float pictures [B, 3, SIZE, SIZE], moved by up to 4 pixels and changed in brightness and contrast."""
    n = len(pictures)
    grid = torch.arange(SIZE)
    move = torch.randint(-4, 5, (2, n, 1), generator=generator)
    rows, columns = ((grid + m).clamp(0, SIZE - 1) for m in move)
    moved = pictures[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    light = 1 + 0.3 * (torch.rand(2, n, 1, 1, 1, generator=generator) - 0.5)
    return normalise(((moved / 255.0 - 0.5) * light[0] + 0.5 * light[1]).clamp(0, 1))


def normalise(pictures):
    """[B, H, W, 3] in 0..1 to CLIP's normalised [B, 3, H, W]."""
    return ((pictures - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


# --- model ------------------------------------------------------------------------------------------------------


def new_model(seed):
    """A fresh CLIP; its token embedding is the draw that loaders fill rows with that are not stored."""
    torch.manual_seed(seed)
    model = CLIP(
        WIDTH, SIZE, VISION_LAYERS, WIDTH, PATCH, CONTEXT, VOCABULARY, WIDTH, WIDTH // 64, TEXT_LAYERS
    )
    draw_ = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.02
    model.token_embedding.weight.data.copy_(draw_)
    return model


def warm_start(model, pictures):
    """Initialise the patch embedding and the vision tower's positions; shapes are learned several times faster.

    The patch embedding becomes a randomly turned whitening of the patches of `pictures` (uint8 [n, SIZE, SIZE, 3]), so
    that edges count as much as plain colour; positions are sines and cosines of row and column, strong enough to matter.
    """
    patches = _patches(normalise(pictures / 255.0)).reshape(-1, 3 * PATCH**2)
    values, vectors = torch.linalg.eigh((patches.t() @ patches / len(patches)).double())
    whitening = vectors[:, -WIDTH:] / (values[-WIDTH:] + 0.01).sqrt()  # [3 * PATCH**2, WIDTH]
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    visual = model.visual
    visual.conv1.weight.data.copy_((turn @ whitening.t().float()).view_as(visual.conv1.weight))
    grid = SIZE // PATCH
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    waves = torch.tensor([0.5, 1, 1.5, 2, 3, 4, 5, 6]) * math.pi / grid
    angles = torch.cat([row.flatten()[:, None] * waves, column.flatten()[:, None] * waves], 1)
    code = torch.cat([angles.sin(), angles.cos()], 1)  # (grid**2, 32)
    turn = torch.linalg.qr(torch.randn(WIDTH, code.shape[1]))[0]
    visual.positional_embedding.data[1:] = 0.5 * code @ turn.t()


def _block(block, x, mask):
    """clip's ResidualAttentionBlock on x [B, L, D]; written out since, on a CPU, this is twice as fast."""
    b, n, d = x.shape
    qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    q, k, v = qkv.view(b, n, 3, d // 64, 64).permute(2, 0, 3, 1, 4)
    scores = (q * 0.125) @ k.transpose(-1, -2)
    scores = scores if mask is None else scores + mask
    mixed = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(b, n, d)
    x = x + block.attn.out_proj(mixed)
    return x + block.mlp(block.ln_2(x))


def _patches(pictures):
    """Normalised pictures [B, 3, SIZE, SIZE] as patches [B, n, 3 * PATCH**2], in the order of conv1's weights."""
    grid = SIZE // PATCH
    cut = pictures.view(-1, 3, grid, PATCH, grid, PATCH).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(-1, grid**2, 3 * PATCH**2)


def encode_image(model, pictures, kept=None):
    """Features [B, WIDTH] of normalised pictures; kept [B, k] are the patches to look at (all by default)."""
    visual = model.visual
    patches = _patches(pictures)
    places = visual.positional_embedding[1:].expand(len(patches), -1, -1)
    if kept is not None:
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        places = places.gather(1, kept[..., None].expand(-1, -1, WIDTH))
    x = F.linear(patches, visual.conv1.weight.flatten(1)) + places
    first = (visual.class_embedding + visual.positional_embedding[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x], 1))
    for block in visual.transformer.resblocks:
        x = _block(block, x, None)
    return visual.ln_post(x[:, 0]) @ visual.proj


def encode_text(model, table, rows, ends):
    """Features [n, WIDTH] of sentences given as rows of `table` [k, WIDTH], cut after the longest one."""
    length = rows.shape[1]
    x = F.embedding(rows, table) + model.positional_embedding[:length]
    mask = torch.full((length, length), float("-inf")).triu(1)
    for block in model.transformer.resblocks:
        x = _block(block, x, mask)
    return model.ln_final(x[torch.arange(len(x)), ends]) @ model.text_projection


@torch.no_grad()
def zero_shot(model, table, vocabulary, pictures, labels):
    """Top-1 accuracy in percent of TEMPLATE: over all classes, over the first half alone, over the second alone."""
    texts = encode_text(model, table, *vocabulary.batch([TEMPLATE.format(c) for c in CLASSNAMES]))
    texts = F.normalize(texts, dim=-1)
    images = torch.cat([encode_image(model, normalise(p / 255.0)) for p in pictures.split(250)])
    scores = F.normalize(images, dim=-1) @ texts.t()
    half = len(CLASSNAMES) // 2
    base = labels < half
    right = [
        scores.argmax(1) == labels,
        scores[base, :half].argmax(1) == labels[base],
        scores[~base, half:].argmax(1) + half == labels[~base],
    ]
    colour = np.array([c.split()[0] for c in CLASSNAMES])
    guess = scores.argmax(1)
    shape = np.array([c.split()[1] for c in CLASSNAMES])
    for x in (colour, shape):
        print(round(100 * (x[guess.numpy()] == x[labels.numpy()]).mean(), 1), end=" ")
    return [round(100 * r.float().mean().item(), 2) for r in right]


# --- training ---------------------------------------------------------------------------------------------------


def rate(step, steps):
    """Learning rate: linear warm-up, then a cosine to zero."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


def train_step(model, table, head, optimizer, vocabulary, scenes, pictures, groups, step, steps, args):
    """One step. All its randomness is seeded by its number, so that a resumed run repeats an uninterrupted one."""
    rng = random.Random(f"step {args.seed} {step}")
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    stage = (step >= LARGE_UNTIL * steps) + (step >= PLAIN_UNTIL * steps)
    chosen = groups.batch(rng, stage, args.batch_size if stage else args.batch_size // 2)
    images = augment(pictures[torch.from_numpy(chosen)], generator)
    kept = None
    if (
        SOME_FROM * steps <= step < SOME_UNTIL * steps
    ):  # a random part of the patches (FLIP, Li et al. 2023): cheaper
        kept = torch.rand(len(chosen), (SIZE // PATCH) ** 2, generator=generator).argsort(1)[:, :KEPT]
    loss = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        image = F.normalize(encode_image(model, images, kept).float(), dim=-1)
    if stage < 2:
        shapes = torch.tensor([list(SHAPES).index(scenes[i].items[0].shape) for i in chosen])
        loss = F.cross_entropy(head(11.0 * image), shapes)
    if stage > 0:
        rows, ends = vocabulary.batch([caption(scenes[i], rng) for i in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            text = F.normalize(encode_text(model, table, rows, ends).float(), dim=-1)
        scores = model.logit_scale.exp() * image @ text.t()
        target = torch.arange(len(chosen))
        loss = loss + (F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)) / 2
    for group in optimizer.param_groups:
        group["lr"] = rate(step, steps)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
    optimizer.step()
    model.logit_scale.data.clamp_(max=math.log(100))
    return loss.item()


def _save(content, path):
    """Write beside the target and rename: an interrupted write never looks like a file."""
    temporary = path.with_name(path.name + ".tmp")
    torch.save(content, temporary)
    os.replace(temporary, path)


def export(model, table, vocabulary, path):
    """Write the weights in half precision, of the token embedding only the rows that training touched."""
    state = {k: v.detach().half() for k, v in model.state_dict().items() if k != "token_embedding.weight"}
    state["token_embedding.rows"] = torch.tensor(vocabulary.rows)
    state["token_embedding.values"] = table.detach().half()
    state["vocab_size"] = torch.tensor(VOCABULARY)
    _save(state, path)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Train shapes-tiny, the bundled CLIP, from scratch on a CPU."
    )
    parser.add_argument(
        "--output", type=Path, default=Path("assets/shapes-tiny.pt"), help="weights file to write"
    )
    parser.add_argument("--epochs", type=int, default=17)
    parser.add_argument("--data-size", type=int, default=40000, help="number of pictures")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)

    vocabulary = Vocabulary()
    model = new_model(args.seed)
    table = torch.nn.Parameter(model.token_embedding.weight.data[vocabulary.rows].clone())
    head = torch.nn.Linear(WIDTH, len(SHAPES))
    named = [(n, p) for n, p in model.named_parameters() if n != "token_embedding.weight"]
    decayed = [p for n, p in named if p.ndim >= 2 and "positional" not in n]
    others = [p for n, p in named if p.ndim < 2 or "positional" in n] + [table, *head.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=RATE,
        betas=(0.9, 0.98),
        fused=True,
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    scenes, large, pictures = make_pictures(args.data_size, args.seed)
    warm_start(model, pictures[:4000])
    resume = args.output.with_name(args.output.name + ".resume")
    start = 0
    if resume.exists():
        saved = torch.load(resume, weights_only=True)
        model.load_state_dict(saved["model"])
        table.data.copy_(saved["table"])
        head.load_state_dict(saved["head"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
        print(f"resuming after step {start}")

    groups = Groups(scenes, large)
    jobs = [(label, i) for label in range(len(CLASSNAMES)) for i in range(SPLITS["test"])]
    test = torch.stack([torch.from_numpy(picture("test", CLASSNAMES[c], i)) for c, i in jobs])
    labels = torch.tensor([c for c, _ in jobs])
    per_epoch = max(1, args.data_size // args.batch_size)
    steps = args.epochs * per_epoch
    began, losses = time.time(), []
    for step in tqdm(range(start, steps), initial=start, total=steps, desc="steps", mininterval=10):
        if step % 26 == 25: print(step, round(sum(losses[-26:]) / len(losses[-26:]), 3), round(time.time()-began), flush=True)
        losses.append(
            train_step(model, table, head, optimizer, vocabulary, scenes, pictures, groups, step, steps, args)
        )
        if (step + 1) % per_epoch == 0:
            figures = zero_shot(model, table, vocabulary, test, labels)
            mean, losses = sum(losses) / len(losses), []
            print(
                f"step {step + 1} loss {mean:.3f} scale {model.logit_scale.exp():.1f} "
                f"zero-shot all/base/new {figures} {time.time() - began:.0f} s",
                flush=True,
            )
            state = {"model": model.state_dict(), "table": table.data, "head": head.state_dict(), "optimizer": optimizer.state_dict()}
            _save({**state, "step": step + 1}, resume)
            export(model, table, vocabulary, args.output)
    resume.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
