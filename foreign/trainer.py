"""A trainer of Dassl's becomes a run like any other: what it is and what came out stand in its metrics.json.

The result is that of Dassl's own evaluation. Training, checkpoints and resuming are the trainer's and Dassl's.
"""

import contextlib
import io
import os
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Callable, Optional

import torch

from dassl.config import get_cfg_default
from dassl.engine import TrainerX
from dassl.utils import load_checkpoint
from trainers.backbone.clip_loader import frozen_clip
from trainers.base import PromptTrainer
from trainers.errors import UserError
from trainers.files.known_content import notes_folder
from trainers.files.whole_files import disk_errors
from trainers.keys import flatten
from trainers.precision import Precision
from trainers.random_state import random_state, set_random_state
from trainers.run import checkpoint, experiment
from trainers.run.loader import A_TEST_MAY_CHANGE, Loaded, PromptLoader, ended_with, path_to_load
from trainers.run.metrics_file import read_metrics
from trainers.run.record import Evaluation, RunRecord
from trainers.run.saver import RunSaver

from .clip_files import FILES

# What methods of this project do with these, Dassl's trainers do not know: setting them would change nothing
UNKNOWN_TO_DASSL = (
    "DATALOADER.STORED_VIEWS",
    "DATALOADER.TRAIN_X.DROP_LAST",
    "MODEL.CUDA_GRAPHS",
    "MODEL.TEXT_CHUNK",
    "OPTIM.LR_STEP",
    "OPTIM.MIN_LR",
)
NOTE = (
    "Note: {} is a trainer written for Dassl, and runs as it is. Not promised: that a resumed training gives the last "
    "bits of one in one go, image features from the store, and its model in predict, export and interpret "
    "(docs/your_own_method.md)."
)


class _Order:
    """Which pictures a test is of: as `frozen_features.Reading`, from which nothing came."""

    found = undecoded = 0

    def __init__(self, items: Sequence[Any]):
        self.paths = [item.impath for item in items]


class _Evaluation(Evaluation):
    """Beside what a record needs, it has what the trainer may ask of Dassl's evaluator."""

    results: Optional[Mapping[str, float]] = None

    def __getattr__(self, name):
        return getattr(self.__dict__["evaluator"], name)

    def evaluate(self):
        if self.record.n != len(self.reading.paths):
            raise UserError(
                f"The test of {self.record.cfg.TRAINER.NAME} went over {self.record.n} pictures, and the data set has "
                f"{len(self.reading.paths)}: it must evaluate each once."
            )
        return super().evaluate()

    def write(self):
        if self.results is None:
            raise UserError(
                f"The test() of {self.record.cfg.TRAINER.NAME} does not ask self.evaluator, as Dassl's does, so that "
                "there is no result to record: let it do so."
            )
        super().write()


class RecordedTrainer:
    """Stands before a trainer of Dassl's in the order of its methods, see `recorded`."""

    measure: Optional[Callable[[Any, Any], dict[str, Any]]] = None  # as `PromptTrainer`'s, both set by train.py
    facts: Mapping[str, Any] = MappingProxyType({})

    _saver: RunSaver  # which weights are at hand; it saves nothing
    _is_recorded = False

    def check_cfg(self, cfg):
        default, now = (dict(flatten(tree)) for tree in (get_cfg_default(), cfg))
        for key in UNKNOWN_TO_DASSL:
            if now[key] != default[key]:
                raise UserError(
                    f"{key} is for methods of this project, and {cfg.TRAINER.NAME}, a trainer written for Dassl, does "
                    "not read it: leave it out."
                )
        try:
            super().check_cfg(cfg)
        except AssertionError as error:
            raise UserError(
                f"{cfg.TRAINER.NAME} does not take this config ({error or 'an assert in check_cfg'})."
            ) from error

    def build_model(self):
        cfg, started = self.cfg, time.time()
        print(NOTE.format(cfg.TRAINER.NAME))
        FILES.activation = cfg.MODEL.BACKBONE.ACTIVATION
        try:
            super().build_model()
        finally:
            FILES.remove()
        state = random_state()  # what is drawn here must not shift what training draws
        with contextlib.redirect_stdout(io.StringIO()):
            _, backbone = frozen_clip(cfg, Precision("fp32", "cpu"), torch.device("cpu"), notes_folder(cfg))
        set_random_state(state)
        settings = experiment.settings_of(cfg, experiment.nodes_of(self, cfg))
        self._saver = RunSaver(
            PromptLoader(None, settings, backbone),
            optim=None,
            sched=None,
            precision=None,
            data=experiment.data_checksums(self.dm.dataset),
            pictures=None,
            directory=self.output_dir,
            max_epoch=self.max_epoch if any(self._optims.values()) else 0,
            started=started,
            moves=(),
        )

    # ---- training ------------------------------------------------------------------------------------------

    def train(self, *args, **kwargs):
        with disk_errors(self.output_dir):
            super().train(*args, **kwargs)
            if self.cfg.TEST.NO_TEST:
                self._record(None).write()
            elif not self._is_recorded:  # its after_train tests otherwise than Dassl's
                self.test()

    def before_train(self):
        super().before_train()  # resumes
        self._saver.now_at(self.start_epoch)

    def after_epoch(self):
        self._is_recorded = False
        self._saver.now_at(self.epoch + 1)
        super().after_epoch()

    # ---- testing -------------------------------------------------------------------------------------------

    def load_model(self, directory, epoch=None):
        """As Dassl's, but epoch None is the best only if there is one, and the last one otherwise.

        Raises UserError for a model of other settings or weights, MissingFile if there is none.
        """
        names = self.get_model_names() if directory else []
        if not names:
            super().load_model(directory, epoch=epoch)
            return
        keeps_best, last = ended_with(directory)
        own = os.path.realpath(directory) == os.path.realpath(self.output_dir)
        if not own:
            self._refuse_another_run(directory)
        folders = [os.path.join(directory, name) for name in names]
        path = [path_to_load(folder, epoch, keeps_best, last) for folder in folders][0]
        number = checkpoint.epoch_of(path)  # None of the best
        super().load_model(directory, epoch=number)
        trained = max([number or 0, last, *checkpoint.epochs_in(folders[0])])
        is_final = epoch is None or (epoch == trained and not keeps_best)
        loaded = number or load_checkpoint(path)["epoch"]
        self._saver.model_dir = "" if own else directory
        self._saver.at = Loaded(loaded, trained, _settings_in(directory), None, is_final)

    def _refuse_another_run(self, directory):
        loader, settings = self._saver.loader, _settings_in(directory)
        if settings is None:  # of a training that has not ended
            return
        weights = read_metrics(directory).get("backbone_weights", loader.backbone["weights"])
        theirs = {"name": settings["MODEL.BACKBONE.NAME"], "weights": weights}
        loader.refuse_another_backbone({"backbone": theirs}, directory)
        remedy = "give the test the config file and the KEY VALUE pairs of the training"
        loader.refuse_other_settings({"settings": settings}, directory, A_TEST_MAY_CHANGE, remedy)

    def test(self, split=None):
        """As Dassl's. The result on the test split, or on the one that TEST.SPLIT names (None), is recorded."""
        tested = split or self.cfg.TEST.SPLIT
        tested = "test" if self.val_loader is None else tested  # which Dassl takes then
        evaluator, dataset = self.evaluator, self.dm.dataset
        items = dataset.val if tested == "val" else dataset.test
        self.evaluator = _Evaluation(evaluator, _Order(items), self._record(tested))
        with disk_errors(self.output_dir):
            try:
                accuracy = super().test(split)
                if split in (None, "test"):
                    self.evaluator.write()
                    self._is_recorded = True
            finally:
                self.evaluator = evaluator
        return accuracy

    def _record(self, split):
        dataset, saver = self.dm.dataset, self._saver
        learned = [p for model in self._models.values() for p in model.parameters() if p.requires_grad]
        weights = {**saver.at_hand(), "learnable_parameters": sum(p.numel() for p in learned)}
        weights.update(getattr(dataset, "origin", {}))
        if saver.model_dir or not saver.max_epoch:
            weights.pop("sample", None)  # nothing was learned from it
        settings, started = saver.loader.settings, saver.started
        return RunRecord(
            self.cfg, split, weights, settings, dataset.classnames, self.device, started, self.facts, self.measure
        )


def _settings_in(directory):
    try:
        return read_metrics(directory).get("settings")
    except (OSError, ValueError):
        return None


def recorded(cls: type, name: str, nodes: list[str]) -> type:
    """The class that is trained here in the place of `cls`, a trainer of Dassl's.

    nodes: below TRAINER, those that it reads.
    """
    if not issubclass(cls, TrainerX):
        raise UserError(f"{cls.__name__} is no TrainerX of dassl.engine, which a trainer has to be derived from.")
    if issubclass(cls, PromptTrainer):
        raise UserError(f"{cls.__name__} is a PromptTrainer, and declares its config keys itself: leave out defaults.")
    own = {"config_nodes": staticmethod(lambda cfg: nodes), "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(name, (RecordedTrainer, cls), own)
