"""The training loop, in layers: models and checkpoints, a run of a config, one epoch of labelled data."""

import datetime
import os.path as osp
import time
from collections import OrderedDict, deque

import numpy as np
import torch

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    MissingFile,
    NotFinite,
    listdir_nohidden,
    load_checkpoint,
    mkdir_if_missing,
    progress,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)
from dassl.utils.torchtools import BEST_MODEL, load_weights

NUMBERED = "model.pth.tar-"  # with the number of finished epochs: the name of a checkpoint


class TrainerBase:
    """Registered models with their optimisers and schedules, and a loop over epochs with hooks."""

    def __init__(self):
        self._models, self._optims, self._scheds = OrderedDict(), OrderedDict(), OrderedDict()
        self._writer = None
        self.epoch = self.batch_idx = 0  # both count from 0

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Let checkpoints, updates and modes include `model`. Raises ValueError if the name is taken."""
        if name in self._models:
            raise ValueError(f'a model named "{name}" is already registered')
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names=None):
        """Return `names` (string or list) as a list, or all. Raises ValueError if one is not registered."""
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            if name not in self._models:
                raise ValueError(f'no model named "{name}" is registered; known: {", ".join(self._models)}')
        return names

    # ---------------------------------------------------------------- loop and hooks
    def train(self, start_epoch, max_epoch):
        """Run epochs `start_epoch` to `max_epoch` - 1; `before_train` may change `self.start_epoch`."""
        self.start_epoch, self.max_epoch = start_epoch, max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def _hook(self):
        """A moment of the training at which a trainer may act."""

    before_train = after_train = before_epoch = after_epoch = _hook

    def _left_open(self, *args):
        raise NotImplementedError(f"{type(self).__name__} leaves open what a trainer has to define (see TrainerX)")

    run_epoch = forward_backward = parse_batch_train = _left_open
    test = model_inference = parse_batch_test = _left_open

    # ---------------------------------------------------------------- checkpoints
    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Write a checkpoint of every model to `directory`/<model's name>; `epoch` counts from 0."""
        for name, model in self._models.items():
            parts = {"optimizer": self._optims[name], "scheduler": self._scheds[name]}
            state = {key: None if part is None else part.state_dict() for key, part in parts.items()}
            state.update(state_dict=model.state_dict(), epoch=epoch + 1, val_result=val_result)
            save_checkpoint(state, osp.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory):
        """Load the last checkpoint of every model if all have one; return the epoch to start from."""
        folders = {name: osp.join(directory, name) for name in self._models}
        if not all(osp.isfile(osp.join(folder, "checkpoint")) for folder in folders.values()):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        done = 0
        for name, folder in folders.items():
            done = resume_from_checkpoint(folder, self._models[name], self._optims[name], self._scheds[name])
        return done

    def load_model(self, directory, epoch=None):
        """Load each model's weights after `epoch` epochs, or its best, from `directory`; "" loads nothing.

        Raises FileNotFoundError, listing the epochs that exist, if there is no such checkpoint; ValueError if
        it cannot be read or does not fit.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        for name, model in self._models.items():
            path = _find_checkpoint(osp.join(directory, name), epoch)
            checkpoint = load_checkpoint(path)
            val_result = checkpoint.get("val_result")
            shown = "none" if val_result is None else f"{val_result:.1f}"
            print(f"Load {path} to {name} (epoch={checkpoint['epoch']}, val_result={shown})")
            load_weights(model, checkpoint["state_dict"], path)

    # ---------------------------------------------------------------- one step
    def set_model_mode(self, mode="train", names=None):
        """Put models in mode "train", or "test" (the same as "eval"). Raises KeyError for another mode."""
        training = {"train": True, "test": False, "eval": False}[mode]
        for name in self.get_model_names(names):
            self._models[name].train(training)

    def _of(self, names, parts):
        """The optimisers or schedules (`parts`) of models, as far as they have one."""
        return [parts[name] for name in self.get_model_names(names) if parts[name] is not None]

    def model_zero_grad(self, names=None):
        for optim in self._of(names, self._optims):
            optim.zero_grad()

    def model_backward(self, loss):
        """Raises FloatingPointError if the loss is not finite."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names=None):
        for optim in self._of(names, self._optims):
            optim.step()

    def model_backward_and_update(self, loss, names=None):
        """One optimiser step on `loss`. Raises FloatingPointError if the loss is not finite."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def update_lr(self, names=None):
        """Move the learning-rate schedules on by an epoch."""
        for sched in self._of(names, self._scheds):
            sched.step()

    def get_current_lr(self, names=None):
        """Return the learning rate of the first named model's first parameter group."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    def detect_anomaly(self, loss):
        """Raise FloatingPointError if `loss` (tensor) is infinite or not a number."""
        if not torch.isfinite(loss).all():
            raise NotFinite(
                f"the loss is infinite or NaN in epoch {self.epoch + 1}, batch {self.batch_idx + 1}: "
                "lower OPTIM.LR or train in fp32"
            )

    # ---------------------------------------------------------------- curves
    def init_writer(self, log_dir):
        if self._writer is None:
            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = __getattr__("SummaryWriter")(log_dir=log_dir)

    def write_scalar(self, tag, scalar_value, global_step=None):
        """Add a point to a tensorboard curve; without a writer (no training) do nothing."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    def close_writer(self):
        if self._writer is not None:
            self._writer.close()


class SimpleTrainer(TrainerBase):
    """A run of a config: data, model, resume, training, model selection and tests.

    A subclass builds and registers its model in `build_model`, and may check its config in `check_cfg`.
    """

    def __init__(self, cfg):
        super().__init__()
        self.check_cfg(cfg)
        self.cfg, self.output_dir = cfg, cfg.OUTPUT_DIR
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch, self.max_epoch = 0, cfg.OPTIM.MAX_EPOCH
        self.best_result = -np.inf
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg):
        """Raise ValueError if the trainer cannot work with `cfg`."""

    def build_data_loader(self):
        """Set the loaders and what is known of the classes; a replacement must set all but `self.dm`."""
        dm = self.dm = DataManager(self.cfg)
        self.train_loader_x, self.train_loader_u = dm.train_loader_x, dm.train_loader_u  # u: None if there is nothing
        self.test_loader, self.val_loader = dm.test_loader, dm.val_loader  # val: None if there is nothing
        self.num_classes, self.lab2cname = dm.num_classes, dm.lab2cname
        self.num_source_domains = dm.num_source_domains

    def build_model(self):
        """Build `self.model`, its optimiser and schedule, and register what is to be trained and saved."""
        raise NotImplementedError

    def train(self):
        super().train(self.start_epoch, self.max_epoch)

    def resume_model_if_exist(self, directory):
        """As `TrainerBase`'s; also restore the best result so far."""
        done = super().resume_model_if_exist(directory)
        best = osp.join(directory, self.get_model_names()[0], BEST_MODEL)
        if done > 0 and osp.isfile(best):
            self.best_result = load_checkpoint(best)["val_result"]  # a worse epoch must not replace it
        return done

    def before_train(self):
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.output_dir)
        curves = osp.join(self.output_dir, "tensorboard")
        mkdir_if_missing(curves)
        self.init_writer(curves)
        self.dm.dataset.keep_sample()  # nothing has refused this run
        self.time_start = time.time()

    def after_train(self):
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL != "best_val":
                print("Deploy the last-epoch model")
            else:
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    def after_epoch(self):
        done = self.epoch + 1
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_MODEL)
        if done == self.max_epoch or (frequency > 0 and done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @torch.no_grad()
    def test(self, split=None):
        """Evaluate on `split` ("test", "val"; default `cfg.TEST.SPLIT`); return the first result (accuracy).

        Without validation images, "val" means "test". Of a batch it knows what `parse_batch_test` makes of it alone,
        so that `self.test_loader` and `self.val_loader` may be anything that gives batches.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        is_val = (split or self.cfg.TEST.SPLIT) == "val" and self.val_loader is not None
        split, loader = ("val", self.val_loader) if is_val else ("test", self.test_loader)
        print(f"Evaluate on the *{split}* set")
        for batch in progress(loader, "Testing", "batch"):
            images, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def parse_batch_test(self, batch):
        """Return images and labels of a batch, on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def model_inference(self, input):
        """Return scores (batch, n_cls)."""
        return self.model(input)


class TrainerX(SimpleTrainer):
    """A run on labelled data: an epoch is one pass over `self.train_loader_x`."""

    def forward_backward(self, batch):
        """Train on a batch; return what to print and plot, a dictionary of numbers. A subclass defines it.

        A dictionary with a true attribute `late`, whose numbers a GPU is still computing, is read when the next step
        has been launched.
        """
        raise NotImplementedError

    def run_epoch(self):
        self.set_model_mode("train")
        losses, batch_time, data_time = meters = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = len(self.train_loader_x)
        steps = deque()  # that have not been reported: at most one, on a GPU
        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            summary = self.forward_backward(batch)
            batch_time.update(time.time() - end)
            steps.append((batch_idx, self.get_current_lr(), summary))
            while len(steps) > (1 if getattr(summary, "late", False) else 0):
                self._report(*steps.popleft(), *meters)
            end = time.time()
        while steps:
            self._report(*steps.popleft(), *meters)

    def _report(self, batch_idx, lr, summary, losses, batch_time, data_time):
        losses.update(summary)
        # an epoch shorter than the period prints every batch
        frequency = self.cfg.TRAIN.PRINT_FREQ if self.num_batches >= self.cfg.TRAIN.PRINT_FREQ else 1
        if (batch_idx + 1) % frequency == 0:
            batches_left = (self.max_epoch - self.epoch) * self.num_batches - batch_idx - 1
            print(
                f"epoch [{self.epoch + 1}/{self.max_epoch}] "
                f"batch [{batch_idx + 1}/{self.num_batches}] "
                f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) "
                f"data {data_time.val:.3f} ({data_time.avg:.3f}) "
                f"{losses} "
                f"lr {lr:.4e} "
                f"eta {datetime.timedelta(seconds=int(batch_time.avg * batches_left))}"
            )
        step = self.epoch * self.num_batches + batch_idx
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, step)
        self.write_scalar("train/lr", lr, step)

    def parse_batch_train(self, batch):
        """Return images, labels and domains of a batch, on the trainer's device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


def __getattr__(name):
    """SummaryWriter, which takes a second to import that an evaluation need not wait for."""
    if name != "SummaryWriter":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


def _find_checkpoint(folder, epoch):
    """Return the path of the checkpoint after `epoch` epochs, or of the best one if `epoch` is None."""
    path = osp.join(folder, BEST_MODEL if epoch is None else f"{NUMBERED}{epoch}")
    if osp.isfile(path):
        return path
    names = listdir_nohidden(folder) if osp.isdir(folder) else []
    numbers = [name[len(NUMBERED) :] for name in names if name.startswith(NUMBERED)]
    epochs = sorted(int(number) for number in numbers if number.isdigit())
    there = f"it has checkpoints of epochs {', '.join(map(str, epochs))}" if epochs else "it has no checkpoints"
    wanted = "best model" if epoch is None else f"checkpoint of epoch {epoch}"
    raise MissingFile(f'no {wanted} in "{folder}": {there} (choose with --load-epoch)')
