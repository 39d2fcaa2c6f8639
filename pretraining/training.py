"""The training: its stages, a step, and what a run that goes on needs."""

import math
import random

import clip
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dassl.utils import progress, write_whole
from datasets.shapes.captions import caption
from datasets.shapes.world import CLASSNAMES, SHAPES, SIZE, SPLITS, picture
from trainers.backbone.clip_loader import load_clip

from .data import Data, Vocabulary, augment, normalise
from .model import PATCH, VOCABULARY, WIDTH, encode_image, encode_text, new_model, warm_start

TEMPLATE = "a picture of a {}."
BATCH, RATE, WEIGHT_DECAY, WARM_UP = 256, 1e-3, 0.1, 60  # warm-up in steps
# Three stages, as shares of the steps: large upright objects, then plain single ones, then everything. A small vision
# transformer finds colours at once and shapes hardly ever, so the first stage teaches shapes alone, by a classifier
# that is thrown away; the second trains it together with CLIP's loss, the third CLIP's loss alone.
LARGE_UNTIL, PLAIN_UNTIL = 0.12, 0.25
KEPT, SOME_FROM, SOME_UNTIL = 40, 0.12, 0.9  # of 64 patches this many are seen between these shares of the steps


def pretrain(output, epochs, data_size, batch_size, seed):
    """Train from scratch, or go on from `<output>.resume`; the weights are written to `output` after each epoch."""
    vocabulary = Vocabulary()
    learner = Learner(seed, vocabulary)
    data = Data(data_size, seed)
    warm_start(learner.model, data.pictures[:4000])
    output.parent.mkdir(parents=True, exist_ok=True)
    resume, done = output.with_name(output.name + ".resume"), 0
    if resume.exists():
        done = learner.resume(torch.load(resume, weights_only=True))
        print(f"Resuming after step {done}")

    per_epoch = max(1, data_size // batch_size)
    steps = epochs * per_epoch
    losses = []
    for step in progress(range(done, steps), "Training", "step", initial=done, total=steps):
        losses.append(train_step(learner, vocabulary, data, step, steps, seed, batch_size))
        if (step + 1) % per_epoch == 0:
            learner.export(vocabulary, output)
            _save(learner.state(step + 1), resume)
            epoch, loss = (step + 1) // per_epoch, sum(losses) / len(losses)
            tqdm.write(f"epoch {epoch}/{epochs}: loss {loss:.3f}, zero-shot {_accuracy(output)}")
            losses = []
    resume.unlink(missing_ok=True)


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
