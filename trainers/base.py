"""PromptTrainer: what all methods do on Dassl. A method names its config node and its CustomCLIP.

Runs on this repository's `dassl/` and on the original, whose public API is all that it uses.
"""

import os
import time
import warnings
from collections import OrderedDict
from contextlib import contextmanager

import torch
from torch import nn
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.config.defaults import _C
from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform
from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_pretrained_weights

from .prompting import checkpoint
from .prompting.clip_loader import cast_weights, fingerprint, load_clip
from .prompting.precision import Precision
from .run_record import RunRecord

LEARNER = "prompt_learner"  # name of the registered model, and of the folder of its checkpoints


def add_defaults(name, node, parent=_C.TRAINER):
    """Add a node to Dassl's default config; keys that are there already (a fork's) keep their values."""
    existing = parent.setdefault(name, CN())
    for key, value in node.items():
        existing.setdefault(key, value)


EXTRA = CN({"DATASET": CN(), "TEST": CN(), "OPTIM": CN()})
EXTRA.DATASET.SUBSAMPLE_CLASSES = "all"  # all | base | new: which half of the classes (CoOp)
EXTRA.DATASET.TEMPLATE = ""  # hand-crafted prompt with {} for the class name; empty: the data set's own
EXTRA.TEST.SAVE_PREDICTIONS = False  # write predictions.npz beside metrics.json
EXTRA.OPTIM.EPS = 1e-8  # epsilon of the Adam family (SEP's authors set 1e-3)
for _name, _node in EXTRA.items():
    add_defaults(_name, _node, _C)


class PromptTrainer(TrainerX):
    """Builds, optimises, saves, resumes and tests a `PromptedCLIP`."""

    node = None  # name of the method's config node: cfg.TRAINER[node]
    custom_clip = None  # CustomCLIP(cfg, classnames, clip_model)

    trained_epochs = 0  # of the weights at hand
    model_dir = ""  # the run that they were loaded from for testing; "" if trained here

    # ---- building ------------------------------------------------------------------------------------------

    def build_model(self):
        cfg = self.cfg
        self.time_built = time.time()
        self.precision = Precision(cfg.TRAINER[self.node].PREC, self.device)
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME})")
        clip_model = load_clip(cfg.MODEL.BACKBONE.NAME)
        self.backbone = {"name": cfg.MODEL.BACKBONE.NAME, "fingerprint": fingerprint(clip_model)}
        cast_weights(clip_model, self.precision.encoder_dtype)

        print("Building custom CLIP")
        clip_model.to(self.device)  # hand-crafted prompts are encoded while building
        self.model = self.custom_clip(cfg, self.dm.dataset.classnames, clip_model).to(self.device)
        learner = self.model.prompt_learner
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(learner, cfg.MODEL.INIT_WEIGHTS)

        trained = nn.ModuleList([learner, self.model.training_only])
        n_params = sum(p.numel() for p in trained.parameters())
        print(f"Learnable parameters: {n_params:,}; both encoders are frozen")
        if n_params == 0:
            self.optim = self.sched = None
        else:
            self.optim = build_optimizer(trained, cfg.OPTIM)
            for group in self.optim.param_groups:  # the original Dassl does not read EPS
                if "eps" in group:
                    group["eps"] = cfg.OPTIM.EPS
            self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(LEARNER, learner, self.optim, self.sched)
        if torch.cuda.device_count() > 1:
            print("Several GPUs are visible; one is used (choose it with CUDA_VISIBLE_DEVICES)")

    # ---- training ------------------------------------------------------------------------------------------

    def prepare_training(self):
        """Called once before the first step of a new training, not when it resumes."""

    @torch.no_grad()
    def training_images(self):
        """(image, label) batches of the few-shot training images under the test transform, in order."""
        loader = build_data_loader(
            self.cfg,
            data_source=self.dm.dataset.train_x,
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(self.cfg, is_train=False),
            is_train=False,
        )
        for batch in loader:
            yield self.parse_batch_test(batch)

    def before_train(self):
        super().before_train()  # resumes: calls resume_model_if_exist
        if self.start_epoch == 0:
            state = checkpoint.random_state()  # preparing must not shift what training draws
            self.prepare_training()
            checkpoint.set_random_state(state)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        with self.precision.autocast():
            logits, losses = self.model(image, label)
            loss = sum(losses.values())
        terms = OrderedDict(losses, **self.model.monitors)
        summary = OrderedDict(zip(["loss", *terms], torch.stack([loss, *terms.values()]).tolist()))
        self.check_finite(summary)
        self.optim.zero_grad()
        self.model.backward({name: self.precision.scale(term) for name, term in losses.items()})
        self.precision.step(self.optim)
        summary["acc"] = compute_accuracy(logits, label)[0].item()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return summary

    def check_finite(self, summary):
        bad = [name for name, value in summary.items() if value - value != 0 and name != "loss"]
        if bad:
            half = self.precision.prec != "fp32"
            raise FloatingPointError(
                f"Loss term {bad[0]} became {summary[bad[0]]} in epoch {self.epoch + 1}, batch {self.batch_idx + 1}: "
                f"lower OPTIM.LR{f' or set TRAINER.{self.node}.PREC to fp32' if half else ''}, and start over."
            )

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    # ---- checkpoints ---------------------------------------------------------------------------------------

    def after_epoch(self):
        self.trained_epochs = self.epoch + 1
        super().after_epoch()
        folder = os.path.join(self.output_dir, LEARNER)
        epoch, frequency = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if not os.path.exists(checkpoint.path_of(folder, epoch)):
            self.save_model(self.epoch, self.output_dir)
        # While training, the last two: should one be damaged, the run goes on from the other
        newest = {epoch} if epoch == self.max_epoch else {epoch - 1, epoch}
        checkpoint.prune(folder, newest | {e for e in range(1, epoch) if frequency > 0 and e % frequency == 0})

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Dassl's layout; `training` holds what a resumed run needs beyond the prompt learner."""
        name = checkpoint.BEST if is_best else model_name or f"model.pth.tar-{epoch + 1}"
        state = {
            "state_dict": self.model.prompt_learner.state_dict(),
            "epoch": epoch + 1,
            "val_result": None if val_result is None else float(val_result),
            "backbone": self.backbone,
            "classnames": self.model.classnames,
            "optimizer": self.optim.state_dict(),
            "training": {
                "modules": self.model.training_only.state_dict(),
                "precision": self.precision.state_dict(),
                "random": checkpoint.random_state(),
                "best_result": float(self.best_result),
            },
        }
        path = os.path.join(directory, LEARNER, name)
        checkpoint.write(state, path)
        print(f"Checkpoint saved to {path}")

    def load_learner(self, state, path):
        """Put a checkpoint's prompts into the model. Raises ValueError if they are of another CLIP or other classes."""
        theirs = state.get("backbone", self.backbone)  # imported checkpoints do not say
        if theirs["fingerprint"] != self.backbone["fingerprint"]:
            raise ValueError(
                f'Checkpoint "{path}" was trained on backbone {theirs["name"]}, whose weights are not those of '
                f"{self.backbone['name']}: pass the same MODEL.BACKBONE.NAME."
            )
        learner = self.model.prompt_learner
        classnames = state.get("classnames", self.model.classnames)
        if getattr(learner, "class_specific", False) and classnames != self.model.classnames:
            raise ValueError(
                f'Checkpoint "{path}" holds a context for each of the {len(classnames)} classes it was trained on, '
                f"which are not those of this run: test it on its own, or train a context for all (CSC False)."
            )
        checkpoint.load_weights(learner, state["state_dict"], path)
        self.trained_epochs = state["epoch"]

    def resume_model_if_exist(self, directory):
        """Load the newest readable checkpoint below `directory`; returns the number of finished epochs."""
        folder = os.path.join(directory, LEARNER)
        for epoch in reversed(checkpoint.epochs_in(folder)):
            path = checkpoint.path_of(folder, epoch)
            try:
                state = checkpoint.read(path)
            except ValueError as error:
                print(f"Ignored: {error}")
                continue
            self.load_learner(state, path)
            training = state["training"]
            checkpoint.load_weights(self.model.training_only, training["modules"], path)
            # The schedule is replayed instead of saved: Dassl's warm-up schedulers hold each other as objects
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "step() before optimizer.step()"
                for _ in range(epoch):
                    self.sched.step()
            self.optim.load_state_dict(state["optimizer"])
            self.precision.load_state_dict(training["precision"])
            self.best_result = training["best_result"]
            checkpoint.set_random_state(training["random"])
            print(f"Resuming from {path} ({epoch} of {self.max_epoch} epochs are done)")
            return epoch
        return 0

    def load_model(self, directory, epoch=None):
        """Load a trained prompt learner: `epoch`, or else the best if there is one, or else the last.

        Raises FileNotFoundError (it names the epochs that exist) and ValueError (damaged, or of another shape).
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        if directory != self.output_dir:  # which it is when training ends with its own best model
            self.model_dir = directory
        if self.optim is None:  # zero-shot
            return
        folder = os.path.join(directory, LEARNER)
        epochs, best = checkpoint.epochs_in(folder), os.path.join(folder, checkpoint.BEST)
        if epoch is None and os.path.isfile(best):
            path = best
        elif not epochs:
            raise FileNotFoundError(f'No checkpoint below "{folder}": train first, or correct --model-dir.')
        elif epoch is not None and epoch not in epochs:
            raise FileNotFoundError(
                f'No checkpoint of epoch {epoch} in "{folder}": --load-epoch can be {", ".join(map(str, epochs))}.'
            )
        else:
            path = checkpoint.path_of(folder, epochs[-1] if epoch is None else epoch)
        state = checkpoint.read(path)
        self.load_learner(state, path)
        print(f'Loading weights to {LEARNER} from "{path}" (epoch = {state["epoch"]})')

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

    _text_features = None

    def model_inference(self, image):
        with self.precision.autocast():
            return self.model(image, text_features=self._text_features)

    @torch.no_grad()
    def test(self, split=None):
        """Evaluate on a split (TEST.SPLIT by default); returns the accuracy in percent.

        The test split's result is written to metrics.json, and with TEST.SAVE_PREDICTIONS to predictions.npz.
        """
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no validation split: set TEST.FINAL_MODEL to last_step.")
        loader = self.val_loader if split == "val" else self.test_loader
        record = RunRecord(self, split)
        print(f"Evaluate on the *{split}* set")
        with self.text_encoded_once():
            for batch in tqdm(loader):
                image, label = self.parse_batch_test(batch)
                logits = self.model_inference(image)
                self.evaluator.process(logits, label)
                record.add(logits, label, batch["impath"])
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        if split == "test":
            record.write(results)
        return next(iter(results.values()))
