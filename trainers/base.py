"""PromptTrainer: what all methods do on Dassl. A method names its config node and its CustomCLIP.

It runs on this repository's `dassl/` and on the original, of which it uses the public interface alone.
"""

import os
import random
import time
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy

from . import keys
from .backbone.clip_loader import frozen_clip
from .errors import MissingFile, NotFinite, UserError, up_to
from .features.frozen_features import FrozenFeatures
from .features.stored_views import in_order, view_loader
from .files.known_content import content_of, notes_folder
from .files.whole_files import cannot_write, disk_errors
from .precision import Precision, first_not_finite
from .prompting.image_batch import ImageBatch
from .prompting.model import PromptedCLIP
from .random_state import random_state, set_random_state
from .run import checkpoint, experiment
from .run.cuda_graphs import as_graphs
from .run.late_numbers import LateNumbers
from .run.loader import LEARNER, PromptLoader
from .run.optimiser import optimiser_of
from .run.record import Evaluation, RunRecord
from .run.saver import RunSaver
from .run.steps import with_last_batch


class PromptTrainer(TrainerX):
    """Builds, optimises, saves, resumes and tests a `PromptedCLIP`."""

    config_node: str  # name of the method's config node: cfg.TRAINER[config_node]
    custom_clip: Callable[[CN, list, nn.Module], PromptedCLIP]  # CustomCLIP(cfg, classnames, clip_model)

    most_views: int = 1  # of a training picture (DATALOADER.K_TRANSFORMS) that a step can take
    smallest_batch: int = 1  # pictures of which a step can be made

    # Of a method that is fitted in one go, not trained in steps: called once, without gradients, as its only epoch
    fit: Optional[Callable[[], None]] = None

    stages: Sequence[int] = ()  # after how many epochs one ends, of a training in several (trainers/counted.py)

    # (logits (n, n_cls), labels (n,), NumPy) of a test -> JSON values for metrics.json; train.py sets it
    measure: Optional[Callable[[Any, Any], Dict[str, Any]]] = None
    facts: Mapping[str, Any] = MappingProxyType({})  # JSON values that train.py adds to metrics.json

    _text_features: Optional[torch.Tensor] = None  # inside `text_encoded_once`

    # ---- building ------------------------------------------------------------------------------------------

    @property
    def trains_on(self):
        """The data set (Dassl's `DatasetBase`) whose train_x the training goes over; its tests may be of another."""
        return self.dm.dataset

    @classmethod
    def config_nodes(cls, cfg: CN) -> List[str]:
        """Names of the nodes below TRAINER that a run with this config reads."""
        return [cls.config_node]

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        keys.check(cfg)
        if cfg.DATALOADER.K_TRANSFORMS > self.most_views:
            raise UserError(
                f"DATALOADER.K_TRANSFORMS must be {up_to(self.most_views)} for {cfg.TRAINER.NAME}: lower it."
            )
        if self.fit and cfg.MODEL.INIT_WEIGHTS:
            raise UserError(f"{cfg.TRAINER.NAME} is fitted to its images alone: leave MODEL.INIT_WEIGHTS out.")

    def build_model(self):
        cfg = self.cfg
        started = time.time()
        self.precision = Precision(cfg.TRAINER[self.config_node].PREC, self.device)
        clip_model, backbone = frozen_clip(cfg, self.precision, self.device, notes_folder(cfg))
        print("Building custom CLIP")
        self.model = self.custom_clip(cfg, self.dm.dataset.classnames, clip_model).to(self.device)
        learner = self.model.prompt_learner
        self.training_forward = as_graphs(self.model, self.device) if cfg.MODEL.CUDA_GRAPHS else self.model

        self.trained = nn.ModuleDict({LEARNER: learner, "training_only": self.model.training_only})
        parameters = list(self.trained.parameters())
        self.n_params = sum(p.numel() for p in parameters if p.requires_grad)
        print(f"Learnable parameters: {self.n_params:,}; {self.model.frozen_note} frozen")
        self.max_epoch = 1 if self.fit else self.max_epoch
        if not cfg.DATALOADER.TRAIN_X.DROP_LAST:
            self.train_loader_x = with_last_batch(self.train_loader_x, self.smallest_batch)
        self.epoch_ends = self.steps_done(len(self.train_loader_x))
        moves = self.epoch_ends if cfg.OPTIM.LR_STEP == "iteration" else range(cfg.OPTIM.MAX_EPOCH + 1)
        self.optim, self.sched = (
            optimiser_of(self.trained, cfg.OPTIM, moves, self.stages) if parameters else (None, None)
        )
        self.register_model(LEARNER, learner, self.optim, self.sched)
        self.settings = experiment.settings_of(cfg, experiment.nodes_of(self, cfg))
        self.loader = PromptLoader(self.model, self.settings, backbone)
        sample = [item.impath for item in self.trains_on.train_x or ()] if cfg.DATASET.NUM_SHOTS > 0 else []
        self.checkpoints = RunSaver(
            self.loader,
            self.optim,
            self.sched,
            self.precision,
            data=experiment.data_checksums(self.dm.dataset, self.trains_on.train_x),
            pictures=content_of(sample, notes_folder(cfg)) if parameters and sample else None,
            directory=self.output_dir,
            max_epoch=self.max_epoch if parameters else 0,
            started=started,
            moves=moves,
        )
        self.frozen = FrozenFeatures(cfg, self.model, self.precision, self.device)
        self.views = view_loader(cfg, self.train_loader_x, self.frozen, experiment.dataset_folder(self.dm.dataset))
        self.train_loader_x = self.views or self.train_loader_x
        if cfg.MODEL.INIT_WEIGHTS:
            self.loader.initialise(cfg.MODEL.INIT_WEIGHTS)
        if torch.cuda.device_count() > 1:
            print("Several GPUs are visible; one is used (choose it with CUDA_VISIBLE_DEVICES)")

    # ---- training ------------------------------------------------------------------------------------------

    def steps_done(self, per_pass: int) -> Sequence[int]:
        """How many steps are done after 0, 1, ... MAX_EPOCH epochs. per_pass: batches of a pass over the images."""
        return [epoch * per_pass for epoch in range(self.cfg.OPTIM.MAX_EPOCH + 1)]

    def prepare_training(self):
        """Called once before the first step of a new training, not when it resumes; without gradients."""

    def training_features(self, view: Optional[int] = None):
        """(frozen features (B, dim), label (B,)) of the training images, in order and in batches, see `in_order`.

        Features are what the frozen image encoder gives, not normalised, float32.
        """
        return self.frozen.features_of(in_order(self.cfg, self.dm.dataset, view))

    def validation_features(self) -> Optional[Tuple[torch.Tensor, torch.Tensor]]:
        """Frozen features (n, dim), as above, and labels (n,) of the validation images.

        None if there are none, or if they are test images (ImageNet's): nothing is chosen on those.
        """
        dataset = self.dm.dataset
        tested = {item.impath for item in dataset.test}
        if not dataset.val or any(item.impath in tested for item in dataset.val):
            return None
        features, labels = zip(*self.frozen.features_of(self.val_loader))
        return torch.cat(features), torch.cat(labels)

    def train(self):
        with disk_errors(self.output_dir):
            super().train()

    def before_train(self):
        self.model.before_training()
        try:
            super().before_train()  # resumes: calls resume_model_if_exist
        except UserError:
            raise
        except OSError as error:  # the folder of tensorboard's curves
            raise cannot_write(str(error.filename or self.output_dir), error) from error
        if self.start_epoch == 0:
            state = random_state()  # preparing must not shift what training draws
            with torch.no_grad():
                self.prepare_training()
            set_random_state(state)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        self.model.monitors.clear()
        self.optim.zero_grad()
        with self.precision.autocast():
            logits, losses = self.training_forward(image, label)
            loss = sum(losses.values())
        label = label if label.dim() == 1 else label.argmax(dim=1)  # of a teacher's scores, the class it takes it for
        check = partial(self.check_finite, f"epoch {self.epoch + 1}, batch {self.batch_idx + 1}")
        monitors, acc = self.model.monitors, compute_accuracy(logits, label)[0]
        summary = LateNumbers(check, loss=loss, **losses, **monitors, acc=acc)
        self.model.backward({name: self.precision.scale(term) for name, term in losses.items()})
        self.precision.step(self.optim)
        if self.batch_idx + 1 == self.num_batches or self.cfg.OPTIM.LR_STEP == "iteration":
            self.update_lr()
        return summary

    def check_finite(self, where, numbers):
        """Called when the numbers of a step are read: on a GPU behind the next step, and before the epoch ends."""
        for name, value in numbers.items():
            if value - value != 0 and name != "loss":
                raise NotFinite(f"Loss term {name} became {value} in {where}: {self._steadier()}, and start over.")

    def run_epoch(self):
        if self.fit:
            with torch.no_grad():
                self.fit()
        else:
            super().run_epoch()
        bad = first_not_finite(self.trained.named_parameters())
        if bad:  # the last step's loss was finite; nothing is saved or tested after this
            raise NotFinite(
                f"Weights {bad} became infinite or NaN in epoch {self.epoch + 1}: {self._steadier()}, and start over."
            )

    def _steadier(self):
        ways = [f"set TRAINER.{self.config_node}.PREC to fp32"] * (self.precision.prec != "fp32")
        return " or ".join([*(["use other weights of CLIP"] if self.fit else ["lower OPTIM.LR"]), *ways])

    def parse_batch_train(self, batch):
        """Images, of several views (DATALOADER.K_TRANSFORMS) a list of them, and labels (B,), on the device."""
        image, label = batch["img"], batch["label"].to(self.device, non_blocking=True)
        if isinstance(image, list):
            return [view.to(self.device, non_blocking=True) for view in image], label
        return ImageBatch(image.to(self.device, non_blocking=True), batch.get("features"), batch["label"]), label

    def parse_batch_test(self, batch):
        image, label = super().parse_batch_test(batch)
        return ImageBatch(image, batch.get("features")), label

    def after_train(self):
        # after_epoch has done so, unless the run was killed between its last checkpoint and that
        self.checkpoints.prune(os.path.join(self.output_dir, LEARNER), self.cfg.TRAIN.CHECKPOINT_FREQ)
        super().after_train()  # tests, unless TEST.NO_TEST
        if self.cfg.TEST.NO_TEST:
            self.record().write()

    # ---- checkpoints ---------------------------------------------------------------------------------------

    def before_epoch(self):
        super().before_epoch()
        if self.views:
            self.views.epoch = self.epoch

    def after_epoch(self):
        epoch = self.epoch + 1
        self.checkpoints.now_at(epoch)
        super().after_epoch()
        folder = os.path.join(self.output_dir, LEARNER)
        if self.checkpoints.saved != checkpoint.path_of(folder, epoch):
            self.save_model(self.epoch, self.output_dir)
        self.checkpoints.prune(folder, self.cfg.TRAIN.CHECKPOINT_FREQ)

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """As Dassl's, which calls it: `epoch` counts from 0."""
        name = checkpoint.BEST if is_best else model_name or checkpoint.name_of(epoch + 1)
        self.checkpoints.save(os.path.join(directory, LEARNER, name), epoch + 1, self.best_result, val_result)

    def resume_model_if_exist(self, directory):
        """Go on from the newest readable checkpoint; returns the number of finished epochs.

        The run's own come first; `directory`, which Dassl takes from RESUME, is for a run that has none yet.
        """
        done = self.checkpoints.resume(self.output_dir)
        if done is None and self.cfg.RESUME:
            done = self.checkpoints.resume(directory)
            if done is None:
                raise MissingFile(
                    f'There is no checkpoint to resume from in "{os.path.join(directory, LEARNER)}": correct --resume, '
                    f"or leave it out to train from the start."
                )
        if done is None:
            return 0
        epochs, self.best_result = done
        return epochs

    def load_model(self, directory, epoch=None):
        """Load trained prompts to test them, see `PromptLoader.load`."""
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        # The folder is this run's own when training ends with its best model
        best = directory == self.output_dir and self.cfg.TEST.FINAL_MODEL == "best_val"
        self.checkpoints.load(directory, epoch, best)

    # ---- testing -------------------------------------------------------------------------------------------

    @contextmanager
    def text_encoded_once(self):
        """Inside, `model_inference` uses text features computed on entry; nothing is kept afterwards.

        Text features that depend on the image are left to each batch.
        """
        self.set_model_mode("eval")
        if not self.model.text_depends_on_image:
            with torch.no_grad(), self.precision.autocast():
                self._text_features = self.model.encode_text()
        try:
            yield
        finally:
            self._text_features = None

    def model_inference(self, image):
        with self.precision.autocast():
            return self.model(image, text_features=self._text_features)

    def test(self, split=None):
        """Evaluate on a split; returns the accuracy in percent.

        The result on the test split, or on the one that TEST.SPLIT names (split None), is written to metrics.json, and
        with TEST.SAVE_PREDICTIONS that on the test split to predictions.npz. A call for "val" chooses a model: it
        leaves nothing.
        """
        if self.cfg.TEST.REMEDIES and self.measure is None:
            raise UserError(
                "TEST.REMEDIES are measured by the train.py that these methods come with: leave it out here."
            )
        tested = split or self.cfg.TEST.SPLIT
        if tested == "val" and self.val_loader is None:
            raise UserError(
                f"{self.cfg.DATASET.NAME} has no validation split: set TEST.SPLIT to test and TEST.FINAL_MODEL to "
                f"last_step."
            )
        loader, evaluator = f"{tested}_loader", self.evaluator
        plain = getattr(self, loader)
        reading = self.frozen.reading(plain, self.model.reads_pixels(training=False))
        self.evaluator = Evaluation(evaluator, reading, self.record(tested))
        setattr(self, loader, reading)
        # What the first test of a process imports may draw (scikit-learn's rich does), which would shift the batches of
        # a run that goes on
        state = random.getstate()
        with disk_errors(self.output_dir):
            try:
                with self.text_encoded_once():
                    accuracy = super().test(split)
                if split in (None, "test"):
                    self.evaluator.write()
            finally:
                random.setstate(state)
                self.evaluator = evaluator
                setattr(self, loader, plain)
        return accuracy

    def record(self, split: Optional[str] = None) -> RunRecord:
        """What goes into metrics.json about the weights at hand; split None: they are not evaluated."""
        weights = {**self.checkpoints.at_hand(), "learnable_parameters": self.n_params}
        weights.update(getattr(self.dm.dataset, "origin", {}))  # of the loaders here, see datasets/published.py
        trained_here = not weights["model_dir"] and (self.fit or self.optim)
        if not trained_here or self.trains_on is not self.dm.dataset:
            weights.pop("sample", None)  # nothing was learned from it
        started, classnames = self.checkpoints.started, self.dm.dataset.classnames
        return RunRecord(
            self.cfg, split, weights, self.settings, classnames, self.device, started, self.facts, self.measure
        )
