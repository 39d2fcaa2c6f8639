"""Train shapes-tiny, the small CLIP that the repository bundles for the Shapes data set.

    python tools/pretrain_shapes.py --output assets/shapes-tiny.pt

Images and captions come from `datasets/shapes/world.py` and `datasets/shapes/captions.py`; the loss is CLIP's
(Radford et al. 2021, symmetric InfoNCE). Stop it at any time: the same command goes on from its last epoch
(`<output>.resume`) and ends with the same weights. On a machine that others use too, two environment variables
keep its threads from waiting for each other: OMP_WAIT_POLICY=active GOMP_SPINCOUNT=infinite. The recipe's numbers
are our choice; `assets/MODEL_CARD.md` says what they gave.
"""

import argparse
import math
import multiprocessing
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import trainers  # noqa: F401  first: lets torchvision, which clip imports, import beside a CPU-only PyTorch

# isort: split
import clip
import numpy as np
import torch
import torch.nn.functional as F
from clip.clip import _tokenizer as tokenizer
from clip.model import CLIP
from tqdm import tqdm

from dassl.utils import progress, write_whole
from datasets.shapes.captions import caption, captioned_picture, words
from datasets.shapes.world import CLASSNAMES, COLOURS, SHAPES, SIZE, SPLITS, picture
from trainers.prompting.clip_loader import load_clip

TEMPLATE = "a picture of a {}."
PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, CONTEXT, VOCABULARY = 8, 128, 6, 4, 77, 49408
BATCH, RATE, WEIGHT_DECAY, WARM_UP = 256, 1e-3, 0.1, 60  # warm-up in steps
# Three stages, as shares of the steps: large upright objects, then plain single ones, then everything. A small vision
# transformer finds colours at once and shapes hardly ever, so the first stage teaches shapes alone, by a classifier
# that is thrown away; the second trains it together with CLIP's loss, the third CLIP's loss alone.
LARGE_UNTIL, PLAIN_UNTIL = 0.12, 0.25
KEPT, SOME_FROM, SOME_UNTIL = 40, 0.12, 0.9  # of 64 patches this many are seen between these shares of the steps
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's pixel statistics
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


# --- data -------------------------------------------------------------------------------------------------------


class Data:
    """Scenes (list), their pictures (uint8 [size, SIZE, SIZE, 3]), and which of them to put into a batch."""

    def __init__(self, size, seed):
        self.scenes, large = [], []
        self.pictures = torch.empty(size, SIZE, SIZE, 3, dtype=torch.uint8)
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            jobs = pool.imap(captioned_picture, ((i, seed) for i in range(size)), chunksize=256)
            for scene, is_large, pixels in progress(jobs, "Drawing", "picture", total=size):
                self.pictures[len(self.scenes)] = torch.from_numpy(pixels)
                self.scenes.append(scene)
                large.append(is_large)
        first = [s.items[0] for s in self.scenes]
        self.all = np.arange(size)
        self.colour = {c: np.array([i for i, o in enumerate(first) if o.colour == c], dtype=int) for c in COLOURS}
        self.shape = {s: np.array([i for i, o in enumerate(first) if o.shape == s], dtype=int) for s in SHAPES}
        plain = [len(s.items) == 1 and s.style == "normal" and s.items[0].pattern == "plain" for s in self.scenes]
        self.stages = (np.array(large), np.array(plain), np.ones(size, dtype=bool))

    def batch(self, rng, stage, size):
        """Indices of a batch. After the first stage, half of the batches share one or two colours, so that telling
        shapes apart is needed, some share two shapes, and the rest are drawn from everything."""
        sort = rng.random() if stage else 1.0
        if sort < 0.5:
            pool = np.concatenate([self.colour[c] for c in rng.sample(list(COLOURS), rng.choice((1, 2)))])
        elif sort < 0.6:
            pool = np.concatenate([self.shape[s] for s in rng.sample(list(SHAPES), 2)])
        else:
            pool = self.all
        pool = pool[self.stages[stage][pool]]
        if not len(pool):  # only with very few pictures
            pool = self.all
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
    model = CLIP(WIDTH, SIZE, VISION_LAYERS, WIDTH, PATCH, CONTEXT, VOCABULARY, WIDTH, WIDTH // 64, TEXT_LAYERS)
    draw_ = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.02
    model.token_embedding.weight.data.copy_(draw_)
    return model


def warm_start(model, pictures):
    """Initialise the patch embedding and the vision tower's positions; shapes are learned several times faster.

    The patch embedding becomes a randomly turned whitening of the patches of `pictures` (uint8 [n, SIZE, SIZE, 3]),
    so that edges count as much as plain colour; positions are sines and cosines of row and column, strong enough to
    be noticed beside it.
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


# --- training ---------------------------------------------------------------------------------------------------


def rate(step, steps):
    """Learning rate: linear warm-up, then a cosine to zero."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


class Learner:
    """What is trained, and everything that a resumed run needs of it."""

    def __init__(self, seed, vocabulary):
        self.model = new_model(seed)
        self.table = torch.nn.Parameter(self.model.token_embedding.weight.data[vocabulary.rows].clone())
        self.head = torch.nn.Linear(WIDTH, len(SHAPES))  # the classifier of shapes that is thrown away
        named = [(n, p) for n, p in self.model.named_parameters() if n != "token_embedding.weight"]
        decayed = [p for n, p in named if p.ndim >= 2 and "positional" not in n]
        others = [p for n, p in named if p.ndim < 2 or "positional" in n] + [self.table, *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
            lr=RATE,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.parameters = decayed + others

    def state(self, step):
        parts = {name: getattr(self, name).state_dict() for name in ("model", "head", "optimizer")}
        return {**parts, "table": self.table.data, "step": step}

    def resume(self, state):
        """Take over a state; returns the number of steps done."""
        for name in ("model", "head", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.table.data.copy_(state["table"])
        return state["step"]

    def losses(self, pictures, kept, captions, shapes):
        """The terms of the loss: with shapes (labels [B]) the classifier's, with captions (rows and ends) CLIP's."""
        terms = []
        with torch.autocast("cpu", torch.bfloat16):
            image = F.normalize(encode_image(self.model, pictures, kept).float(), dim=-1)
        if shapes is not None:
            terms.append(F.cross_entropy(self.head(11.0 * image), shapes))
        if captions is not None:
            with torch.autocast("cpu", torch.bfloat16):
                text = F.normalize(encode_text(self.model, self.table, *captions).float(), dim=-1)
            scores = self.model.logit_scale.exp() * image @ text.t()
            target = torch.arange(len(image))
            terms.append((F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)) / 2)
        return terms

    def update(self, loss, learning_rate):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(max=math.log(100))

    def export(self, vocabulary, path):
        """Write the weights in half precision, of the token embedding only the rows that training touched."""
        state = {k: v.detach().half() for k, v in self.model.state_dict().items() if k != "token_embedding.weight"}
        state["token_embedding.rows"] = torch.tensor(vocabulary.rows)
        state["token_embedding.values"] = self.table.detach().half()
        state["vocab_size"] = torch.tensor(VOCABULARY)
        _save(state, path)


def train_step(learner, vocabulary, data, step, steps, seed, batch_size):
    """One step; returns its loss. All its randomness is seeded by its number, so that a resumed run repeats it."""
    rng = random.Random(f"step {seed} {step}")
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    stage = (step >= LARGE_UNTIL * steps) + (step >= PLAIN_UNTIL * steps)
    chosen = data.batch(rng, stage, batch_size if stage else batch_size // 2)
    pictures = augment(data.pictures[torch.from_numpy(chosen)], generator)
    kept = captions = shapes = None
    if SOME_FROM * steps <= step < SOME_UNTIL * steps:  # as FLIP (Li et al. 2023): cheaper
        kept = torch.rand(len(chosen), (SIZE // PATCH) ** 2, generator=generator).argsort(1)[:, :KEPT]
    if stage < 2:
        shapes = torch.tensor([list(SHAPES).index(data.scenes[i].items[0].shape) for i in chosen])
    if stage > 0:
        captions = vocabulary.batch([caption(data.scenes[i], rng) for i in chosen])
    loss = sum(learner.losses(pictures, kept, captions, shapes))
    learner.update(loss, rate(step, steps))
    return loss.item()


@torch.no_grad()
def zero_shot(path, per_class=SPLITS["test"]):
    """Top-1 accuracy in percent of a weights file on Shapes' test pictures with TEMPLATE.

    Returns three numbers: over all classes, over the base half alone, over the new half alone.
    """
    model = load_clip(str(path))
    drawn = [picture("test", name, i) for name in CLASSNAMES for i in range(per_class)]
    pictures = normalise(torch.from_numpy(np.stack(drawn)) / 255.0)
    labels = torch.arange(len(CLASSNAMES)).repeat_interleave(per_class)
    tokens = clip.tokenize([TEMPLATE.format(name) for name in CLASSNAMES])
    texts = F.normalize(model.encode_text(tokens), dim=-1)
    images = F.normalize(torch.cat([model.encode_image(part) for part in pictures.split(200)]), dim=-1)
    scores, half = images @ texts.t(), len(CLASSNAMES) // 2
    base = labels < half
    right = [
        scores.argmax(1) == labels,
        scores[base, :half].argmax(1) == labels[base],
        scores[~base, half:].argmax(1) + half == labels[~base],
    ]
    return [100 * r.float().mean().item() for r in right]


def _accuracy(path):
    return "all {:.1f} %, base {:.1f} %, new {:.1f} %".format(*zero_shot(path))


def _save(content, path):
    """Write beside the target and rename: an interrupted write never looks like a file."""
    write_whole(str(path), lambda file: torch.save(content, file), "wb")


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train shapes-tiny, the bundled CLIP, from scratch on a CPU.")
    assets = Path(__file__).resolve().parents[1] / "assets"
    parser.add_argument("--output", type=Path, default=assets / "shapes-tiny.pt", help="weights file to write")
    parser.add_argument("--epochs", type=int, default=17)
    parser.add_argument("--data-size", type=int, default=40000, help="number of pictures")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)

    vocabulary = Vocabulary()
    learner = Learner(args.seed, vocabulary)
    data = Data(args.data_size, args.seed)
    warm_start(learner.model, data.pictures[:4000])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    resume, done = args.output.with_name(args.output.name + ".resume"), 0
    if resume.exists():
        done = learner.resume(torch.load(resume, weights_only=True))
        print(f"Resuming after step {done}")

    per_epoch = max(1, args.data_size // args.batch_size)
    steps = args.epochs * per_epoch
    losses = []
    for step in progress(range(done, steps), "Training", "step", initial=done, total=steps):
        losses.append(train_step(learner, vocabulary, data, step, steps, args.seed, args.batch_size))
        if (step + 1) % per_epoch == 0:
            learner.export(vocabulary, args.output)
            _save(learner.state(step + 1), resume)
            epoch, loss = (step + 1) // per_epoch, sum(losses) / len(losses)
            tqdm.write(f"epoch {epoch}/{args.epochs}: loss {loss:.3f}, zero-shot {_accuracy(args.output)}")
            losses = []
    resume.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
