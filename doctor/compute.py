"""A step of every method on this device: whether its numbers are the CPU's, what it costs, and what it waits for."""

import copy
import gc
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import NamedTuple, Optional

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import own_methods
from benchmarks import budget, vit
from benchmarks.config import REPOSITORY, config_of
from benchmarks.pictures import make_pictures
from benchmarks.subject import GEOMETRIES, Subject
from benchmarks.table import Table
from benchmarks.timing import interleaved
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from harness.catalogue import DATASETS
from trainers.precision import Precision
from trainers.prompting.image_batch import ImageBatch
from trainers.run import cuda_graphs
from trainers.run.record import device_name

from .findings import FAULT, NOTE, OK, Finding

COMPARED = (4, 10)  # pictures, classes
TESTED = 64  # pictures
ROUNDS = 3  # behind those that warm up
SCALES = (2.0**16, 2.0**10, 2.0**4, 1.0)  # of losses, where fp16 would lose gradients: the first without overflow
SEEDS = 3  # of a table
CONTEXT_MB = 600  # of a GPU, by every process, beside what PyTorch allocates [our estimate]
MOST_SECONDS = {"cuda": 600, "cpu": math.inf}  # for all methods: no other is begun that might take longer
STARTED, LOADED = 2, 4  # batches of each loading process before its time is taken, and while it is
# The largest difference, of losses and logits and of gradients, that rounding makes on random weights, with a margin:
# convolutions in TF32, which PyTorch allows, have 10 bits, fp16 has 10, bf16 has 7 [our choice]
ROUNDING = {"fp32": (0.01, 0.05), "amp": (0.05, 0.5), "fp16": (0.05, 0.5), "bf16": (0.1, 1.0)}
GRAPHS = "fp32, graphs"  # in the place of a precision: with MODEL.CUDA_GRAPHS
RECORDING = 2  # steps in which they are recorded


# ---- the same numbers? -------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """Of a step and an evaluation, on the CPU in float32."""

    losses: dict
    logits: list  # of the step, of the evaluation: (n, n_cls)
    gradients: torch.Tensor  # of all that is trained, in one row


def precisions(device):
    """The values of PREC that a device has."""
    if device == "cpu":
        return ["fp32", "amp", "bf16"]
    return ["fp32", "amp", "fp16"] + ["bf16"] * torch.cuda.is_bf16_supported()


def outcome(subject, prec, device, start=None):
    """(the `Outcome` of a model, what it had learned before its step); start: the latter, of another model."""
    n_img, n_cls = COMPARED
    undropped = ["TRAINER.CLIPLORA.DROPOUT", "0.0", "TRAINER.MMAPP.DROPOUT", "0.0"]  # devices draw it differently
    model, precision = subject.model(n_cls, "fp32" if prec == GRAPHS else prec, device, *undropped)
    forward = cuda_graphs.as_graphs(model, torch.device(device)) if prec == GRAPHS else model
    learned = nn.ModuleList([model.prompt_learner, model.training_only])
    start = start or copy.deepcopy(learned.state_dict())
    images, labels = subject.batch(n_img, n_cls, device)

    def step(scale):
        torch.manual_seed(1)
        learned.load_state_dict(start)  # a step changes the statistics of batch norms
        model.monitors.clear()
        model.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(subject.steps), precision.autocast():
            logits, losses = forward(ImageBatch(images, None, labels.cpu()), labels)
        return logits, losses, _gradients(model, learned, losses, scale) if subject.steps else torch.zeros(1)

    for _ in range(RECORDING if prec == GRAPHS else 0):
        step(1.0)
    for scale in SCALES if precision.scaler else (1.0,):
        logits, losses, gradients = step(scale)
        if gradients.isfinite().all():
            break
    tested = vit.evaluate(model, precision, images)
    losses = {name: float(_plain(term)) for name, term in losses.items()}
    return Outcome(losses, [_plain(logits), _plain(tested)], gradients), start


def _gradients(model, learned, losses, scale):
    model.backward({name: scale * term for name, term in losses.items()})
    return torch.cat([_plain(p.grad).flatten() / scale for p in learned.parameters() if p.grad is not None])


def _plain(tensor):
    return tensor.detach().float().cpu()


def differences(ours, theirs):
    """Relative ones, [of losses, of logits, of gradients]: to the whole loss, the largest logit, the norm of all."""
    loss = sum(abs(value) for value in theirs.losses.values())
    losses = [abs(ours.losses[name] - value) / loss for name, value in theirs.losses.items()]
    logits = [_largest(a, b) for a, b in zip(ours.logits, theirs.logits)]
    norm = theirs.gradients.norm()
    largest = [float(torch.tensor(each).max()) for each in (losses, logits)]  # a NaN, if there is one
    return [*largest, float((ours.gradients - theirs.gradients).norm() / norm) if norm else None]


def _largest(a, b):
    """Of logits, but for those of classes that a step leaves out, which have -inf (SkipTuning)."""
    there = (a != -math.inf) & (b != -math.inf)
    return (a - b)[there].abs().max() / b[there].abs().max()


def agreement(subject) -> list:
    """A row for each precision: method, precision, and the `differences` from the CPU in fp32.

    The last is `GRAPHS`, where the device has them; if such a step fails, they are NaN, and the error is printed.
    """
    theirs, start = outcome(subject, "fp32", "cpu")
    rows = [
        [subject.method.trainer, prec, *differences(outcome(subject, prec, subject.device, start)[0], theirs)]
        for prec in precisions(subject.device)
    ]
    if subject.steps and subject.device in cuda_graphs.BACKENDS:
        try:
            found = differences(outcome(subject, GRAPHS, subject.device, start)[0], theirs)
        except Exception as error:  # of PyTorch, which has not been seen to do this with these methods on a GPU
            print(f"{subject.method.trainer} with MODEL.CUDA_GRAPHS: {error!r}", file=sys.stderr)
            found = [math.nan] * 3
        rows.append([subject.method.trainer, GRAPHS, *found])
    return rows


def verdict(rows, device) -> Finding:
    """Of the rows of one method on a device."""
    check, far = f"compute, {rows[0][0]}", []
    for _, prec, losses, logits, gradients in rows:
        forward, backward = ROUNDING["bf16" if (prec, device) == ("amp", "cpu") else prec.split(",")[0]]
        if not (losses <= forward and logits <= forward and (gradients or 0) <= backward):  # a NaN is never
            far.append(f"{prec} (losses {losses:.1g}, logits {logits:.1g}, gradients {gradients or 0:.1g})")
    if far:
        text = f"other numbers than on the CPU in fp32, relatively: {', '.join(far)}"
        remedy = "use another precision (PREC), and compare PyTorch's versions"
        if any(each.startswith(GRAPHS) for each in far):
            remedy += "; leave MODEL.CUDA_GRAPHS out"
        return Finding(FAULT, check, text, remedy)
    return Finding(OK, check, f"{', '.join(row[1] for row in rows)} give the CPU's numbers of fp32, but for rounding")


# ---- cost --------------------------------------------------------------------------------------------------------


class Cost(NamedTuple):
    seconds: float
    in_kernels: Optional[float]  # seconds that a GPU's kernels take
    memory: Optional[float]  # peak MiB of a GPU


def cost(function, device) -> Optional[Cost]:
    """None: the device has too little memory."""
    try:
        if device == "cpu":
            return Cost(interleaved({"": function}, ROUNDS, device)[""].wall, None, None)
        gc.collect()  # models that were measured before
        torch.cuda.reset_peak_memory_stats()
        seconds = interleaved({"": function}, ROUNDS, device)[""].wall
        memory = torch.cuda.max_memory_allocated() / 2**20
        return Cost(seconds, in_kernels(function), memory)
    except torch.cuda.OutOfMemoryError:
        return None


def in_kernels(function) -> Optional[float]:
    """Seconds that a GPU's kernels take, one after the other; None if the profiler sees none."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    kernels = (e for e in profiled.key_averages() if e.device_type == DeviceType.CUDA)
    return sum(e.self_device_time_total for e in kernels) / 1e6 or None


def step_cost(subject, n_img, n_cls, graphs=False):
    model, precision = subject.model(n_cls, _prec(subject, subject.config(n_cls)), subject.device)
    batch = subject.training_batch(n_img, n_cls, subject.device)
    forward = cuda_graphs.as_graphs(model, torch.device(subject.device)) if graphs else model
    return cost(lambda: vit.step(model, precision, batch, forward), subject.device)


def test_cost(subject):
    """Of `TESTED` pictures."""
    few = subject.geometry.few
    model, precision = subject.model(few, _prec(subject, subject.config(few)), subject.device)
    images, _ = subject.batch(TESTED, few, subject.device)
    return cost(lambda: vit.evaluate(model, precision, images), subject.device)


def _prec(subject, cfg):
    """What the config's PREC becomes on the device."""
    with redirect_stdout(StringIO()):
        return Precision(cfg.TRAINER[subject.trainer.config_node].PREC, subject.device).prec


def speed(subject, loaded, graphs=False) -> list:
    """A row: method, precision, images of a step, ms (and as graphs) and MiB with few and many classes, share of the
    kernels, ...

    loaded: pictures a second that the loaders give. graphs: whether a step can be launched as graphs.
    """
    n_few, n_many = subject.geometry.few, subject.geometry.many
    cfg = subject.config(n_few)
    batch, prec = cfg.DATALOADER.TRAIN_X.BATCH_SIZE, _prec(subject, cfg)
    few, many, large = (step_cost(subject, *of) for of in ((batch, n_few), (batch, n_many), (2 * batch, n_few)))
    start = [subject.method.trainer, prec, batch]
    if few is None:
        return [*start, *[None] * 9]
    recorded = step_cost(subject, batch, n_few, graphs=True) if graphs else None
    fits = _jobs(few.memory)
    by_both = [None if one is None else getattr(one, of) for of in ("seconds", "memory") for one in (few, many)]
    ms = [value and 1000 * value for value in by_both[:2]]
    takes, share = batch / few.seconds, few.in_kernels and few.in_kernels / few.seconds
    limit = "loaders" if loaded < takes else "step" if share is None else "kernels" if share > 0.5 else "host"
    hours = None
    tested = test_cost(subject)
    if many and large and tested and subject.method.has("base2new"):
        line = budget.straight_line((batch, n_few), (2 * batch, n_many), few.seconds, large.seconds, many.seconds)
        plans = [budget.schedule(subject.method, dataset) for dataset in DATASETS]
        hours = (
            SEEDS / 3600 * sum(p.cost(lambda b, c: max(line(b, c), b / loaded), tested.seconds / TESTED) for p in plans)
        )
    as_graphs = recorded and 1000 * recorded.seconds
    return [*start, *ms, as_graphs, *by_both[2:], share, takes, limit, fits, hours]


def _jobs(memory):
    """How many runs of this peak memory (MiB) the GPU holds at once, a core for each; None on a CPU."""
    if memory is None:
        return None
    total = torch.cuda.mem_get_info()[1] / 2**20
    return max(1, min(int(total / (memory + CONTEXT_MB)), len(os.sched_getaffinity(0))))


# ---- loaders -----------------------------------------------------------------------------------------------------


def pictures_a_second(paths) -> float:
    """Of a training's loaders: read, cropped and flipped by the processes of CoOp's config. paths: of pictures."""
    with redirect_stdout(StringIO()):
        cfg = config_of(
            ["--trainer", "CoOp", "--config-file", f"{REPOSITORY}/configs/trainers/CoOp/vit_b16_ctxv1.yaml"]
        )
        transform = build_transform(cfg, is_train=True)
    workers, batch = max(1, cfg.DATALOADER.NUM_WORKERS), cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    items = [Datum(paths[i % len(paths)], 0, 0, "picture") for i in range((STARTED + LOADED) * workers * batch)]
    with warnings.catch_warnings():  # of more processes than cores, which environment.py notes
        warnings.simplefilter("ignore")
        batches = iter(build_data_loader(cfg, "SequentialSampler", items, batch, tfm=transform))
    for _ in range(STARTED * workers):
        next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    return LOADED * workers * batch / (time.perf_counter() - start)


# ---- all of it ---------------------------------------------------------------------------------------------------


def compute(methods, geometry, pictures) -> Iterator:
    """Findings, and at the end two Tables. pictures: paths of some; drawn ones in $TMPDIR if there are none."""
    device, of = "cuda" if torch.cuda.is_available() else "cpu", GEOMETRIES[geometry]
    with tempfile.TemporaryDirectory() as folder:
        loaded = pictures_a_second(pictures or make_pictures([folder], 256, 400))
    for method in methods:
        if method.defaults is not None:
            text = "a trainer written for Dassl is run as it is, and not looked at"
            yield Finding(NOTE, f"compute, {method.trainer}", text)
    methods = [method for method in methods if method.defaults is None]
    own_methods.load([method.trainer for method in methods])
    agreed, fast, ends = [], [], [time.monotonic()]
    for i, method in enumerate(methods, start=1):
        longest = max((end - begin for begin, end in zip(ends, ends[1:])), default=0)
        if i > 1 and ends[-1] - ends[0] + longest > MOST_SECONDS[device]:
            left = " ".join(method.folder for method in methods[i - 1 :])
            yield Finding(NOTE, "compute", f"ten minutes do not suffice for {left}", f"add --methods {left}")
            break
        print(f"{method.trainer}, {i} of {len(methods)}", file=sys.stderr)
        subject = Subject(method, of, device)
        rows = agreement(subject)
        agreed += rows
        yield verdict(rows, device)
        if subject.steps:
            fast.append(speed(subject, loaded, rows[-1][1] == GRAPHS and not math.isnan(rows[-1][2])))
            if fast[-1][3] is None or fast[-1][4] is None:
                text = f"a step of {of.many if fast[-1][3] else of.few} classes takes more memory than there is"
                yield Finding(NOTE, f"compute, {method.trainer}", text, "lower DATALOADER.TRAIN_X.BATCH_SIZE")
        ends.append(time.monotonic())
    where = f"{device_name(torch.device(device))}, PyTorch {torch.__version__}, {geometry} geometry, random weights"
    numbers = [(name, ".1e") for name in ("losses", "logits", "gradients")]
    yield Table(
        f"Largest relative differences from the CPU in fp32, {COMPARED[1]} classes: {where}",
        [("", ""), ("", ""), *numbers],
        agreed,
    )
    yield Table(
        f"A step without its optimiser, published batch and precision; the loaders give {loaded:.0f} pictures a "
        f"second: {where}",
        [
            *(("", ""), ("PREC", ""), ("batch", "d"), (f"ms, {of.few} classes", ".1f"), (f"{of.many}", ".1f")),
            (f"{of.few}, graphs", ".1f"),
            *(
                (f"MiB, {of.few}", ".0f"),
                (f"{of.many}", ".0f"),
                ("in kernels", ".2f"),
                ("pictures/s", ".0f"),
                ("limit", ""),
            ),
            *(("jobs", "d"), ("h of the base-to-new table", ".1f")),
        ],
        fast,
    )
