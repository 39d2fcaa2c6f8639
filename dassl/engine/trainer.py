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
    listdir_nohidden,
    load_checkpoint,
    mkdir_if_missing,
    progress,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)
from dassl.utils.errors import MissingFile, NotFinite
from dassl.utils.torchtools import BEST_MODEL, load_weights


class TrainerBase:
    """Registered models with their optimisers and schedules, and a loop over epochs with hooks."""

    def __init__(self):
        self._models = OrderedDict()
        self._optims = OrderedDict()
        self._scheds = OrderedDict()
        self._writer = None
        self.epoch = self.batch_idx = 0  # both count from 0

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Let checkpoints, updates and modes include `model`. Raises ValueError if the name is taken."""
        if name in self._models:
            raise ValueError(f'a model named "{name}" is already registered')
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names=None):
        """Return `names` (string or list) as a list, or all. Raises ValueError if one is not registered."""
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            if name not in self._models:
                raise ValueError(f'no model named "{name}" is registered; known: {", ".join(self._models)}')
        return names

    # ---------------------------------------------------------------- checkpoints
    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Write a checkpoint of every model to `directory`/<model's name>; `epoch` counts from 0."""
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            save_checkpoint(
                {
                    "state_dict": self._models[name].state_dict(),
                    "epoch": epoch + 1,
                    "optimizer": None if optim is None else optim.state_dict(),
                    "scheduler": None if sched is None else sched.state_dict(),
                    "val_result": val_result,
                },
                osp.join(directory, name),
                is_best=is_best,
                model_name=model_name,
            )

    def resume_model_if_exist(self, directory):
        """Load the last checkpoint of every model if all have one; return the epoch to start from."""
        folders = {name: osp.join(directory, name) for name in self.get_model_names()}
        if not all(osp.isfile(osp.join(folder, "checkpoint")) for folder in folders.values()):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        start_epoch = 0
        for name, folder in folders.items():
            start_epoch = resume_from_checkpoint(folder, self._models[name], self._optims[name], self._scheds[name])
        return start_epoch

    def load_model(self, directory, epoch=None):
        """Load each model's weights after `epoch` epochs, or its best, from `directory`; "" loads nothing.

        Raises FileNotFoundError, listing the epochs that exist, if there is no such checkpoint; ValueError if
        it cannot be read or does not fit.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        for name in self.get_model_names():
            model_path = _find_checkpoint(osp.join(directory, name), epoch)
            checkpoint = load_checkpoint(model_path)
            val_result = checkpoint.get("val_result")
            shown = "none" if val_result is None else f"{val_result:.1f}"
            print(f"Load {model_path} to {name} (epoch={checkpoint['epoch']}, val_result={shown})")
            load_weights(self._models[name], checkpoint["state_dict"], model_path)

    # ---------------------------------------------------------------- loop and hooks
    def train(self, start_epoch, max_epoch):
        """Run epochs `start_epoch` to `max_epoch` - 1; `before_train` may change `self.start_epoch`."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self):
        pass

    def after_train(self):
        pass

    def before_epoch(self):
        pass

    def after_epoch(self):
        pass

    def run_epoch(self):
        raise NotImplementedError

    def test(self):
        raise NotImplementedError

    def parse_batch_train(self, batch):
        raise NotImplementedError

    def parse_batch_test(self, batch):
        raise NotImplementedError

    def forward_backward(self, batch):
        """Train on a batch; return what to print and plot, a dictionary of numbers.

        One with `ready()` and `read()`, whose numbers are still on their way from a GPU, is read a step later.
        """
        raise NotImplementedError

    def model_inference(self, input):
        raise NotImplementedError

    # ---------------------------------------------------------------- one step
    def set_model_mode(self, mode="train", names=None):
        """Put models in mode "train", or "test" (the same as "eval"). Raises KeyError for another mode."""
        training = {"train": True, "test": False, "eval": False}[mode]
        for name in self.get_model_names(names):
            self._models[name].train(training)

    def model_zero_grad(self, names=None):
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss):
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names=None):
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss, names=None):
        """One optimiser step on `loss`. Raises FloatingPointError if the loss is not finite."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def update_lr(self, names=None):
        """Move the learning-rate schedules on by an epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names=None):
        """Return the learning rate of the first named model's first parameter group."""
        name = self.get_model_names(names)[0]
        return self._optims[name].param_groups[0]["lr"]

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
            from torch.utils.tensorboard import SummaryWriter  # here: an evaluation needs no curves

            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self):
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag, scalar_value, global_step=None):
        """Add a point to a tensorboard curve; without a writer (no training) do nothing."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)


class SimpleTrainer(TrainerBase):
    """A run of a config: data, model, resume, training, model selection and tests.

    A subclass builds and registers its model in `build_model`, and may check its config in `check_cfg`.
    """

    def __init__(self, cfg):
        super().__init__()
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -np.inf

    def check_cfg(self, cfg):
        """Raise ValueError if the trainer cannot work with `cfg`."""

    def build_data_loader(self):
        """Set the loaders and what is known of the classes; a replacement must set all but `self.dm`."""
        dm = DataManager(self.cfg)
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u  # None without unlabelled images
        self.val_loader = dm.val_loader  # None without validation images
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self):
        """Build `self.model`, its optimiser and schedule, and register what is to be trained and saved."""
        raise NotImplementedError

    def train(self):
        super().train(self.start_epoch, self.max_epoch)

    def resume_model_if_exist(self, directory):
        """As `TrainerBase`'s; also restore the best result so far."""
        start_epoch = super().resume_model_if_exist(directory)
        best = osp.join(directory, self.get_model_names()[0], BEST_MODEL)
        if start_epoch > 0 and osp.isfile(best):
            self.best_result = load_checkpoint(best)["val_result"]  # a worse epoch must not replace it
        return start_epoch

    def before_train(self):
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
        writer_dir = osp.join(self.output_dir, "tensorboard")
        mkdir_if_missing(writer_dir)
        self.init_writer(writer_dir)
        self.time_start = time.time()

    def after_train(self):
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        elapsed = datetime.timedelta(seconds=round(time.time() - self.time_start))
        print(f"Elapsed: {elapsed}")
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

        Without validation images, "val" means "test".
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        if split is None:
            split = self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            data_loader = self.val_loader
        else:
            split, data_loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        for batch in progress(data_loader, "Testing", "batch"):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input):
        return self.model(input)

    def parse_batch_test(self, batch):
        """Return images and labels of a batch, on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)


class TrainerX(SimpleTrainer):
    """A run on labelled data: an epoch is one pass over `self.train_loader_x`."""

    def run_epoch(self):
        self.set_model_mode("train")
        losses, batch_time, data_time = meters = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = len(self.train_loader_x)
        steps = deque()  # whose numbers have not come: at most one, on a GPU

        def report(waiting):
            while steps and (len(steps) > waiting or _has_come(steps[0][-1])):
                self._report(*steps.popleft(), *meters)

        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            summary = self.forward_backward(batch)
            batch_time.update(time.time() - end)
            steps.append((batch_idx, self.get_current_lr(), summary))
            report(waiting=1)
            end = time.time()
        report(waiting=0)

    def _report(self, batch_idx, lr, summary, losses, batch_time, data_time):
        losses.update(summary.read() if hasattr(summary, "read") else summary)
        # an epoch shorter than the period prints every batch
        frequency = self.cfg.TRAIN.PRINT_FREQ if self.num_batches >= self.cfg.TRAIN.PRINT_FREQ else 1
        if (batch_idx + 1) % frequency == 0:
            batches_left = (self.max_epoch - self.epoch) * self.num_batches - batch_idx - 1
            eta = datetime.timedelta(seconds=int(batch_time.avg * batches_left))
            print(
                f"epoch [{self.epoch + 1}/{self.max_epoch}] "
                f"batch [{batch_idx + 1}/{self.num_batches}] "
                f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) "
                f"data {data_time.val:.3f} ({data_time.avg:.3f}) "
                f"{losses} "
                f"lr {lr:.4e} "
                f"eta {eta}"
            )
        step = self.epoch * self.num_batches + batch_idx
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, step)
        self.write_scalar("train/lr", lr, step)

    def parse_batch_train(self, batch):
        """Return images, labels and domains of a batch, on the trainer's device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


def _has_come(summary):
    return not hasattr(summary, "ready") or summary.ready()


def _find_checkpoint(folder, epoch):
    """Return the path of the checkpoint after `epoch` epochs, or of the best one if `epoch` is None."""
    path = osp.join(folder, BEST_MODEL if epoch is None else f"model.pth.tar-{epoch}")
    if osp.isfile(path):
        return path
    prefix = "model.pth.tar-"
    names = listdir_nohidden(folder) if osp.isdir(folder) else []
    epochs = sorted(int(name[len(prefix) :]) for name in names if name[len(prefix) :].isdigit())
    there = f"it has checkpoints of epochs {', '.join(map(str, epochs))}" if epochs else "it has no checkpoints"
    wanted = "best model" if epoch is None else f"checkpoint of epoch {epoch}"
    raise MissingFile(f'no {wanted} in "{folder}": {there} (choose with --load-epoch)')
