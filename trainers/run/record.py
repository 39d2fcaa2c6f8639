"""What a finished run leaves behind for tables: metrics.json, and predictions.npz on request."""

import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
import torchvision
from yacs.config import CfgNode

from ..errors import UserError
from ..files.known_content import content_of, notes_folder
from ..files.whole_files import write_whole
from . import metrics_file
from .experiment import fingerprint


@dataclass
class RunRecord:
    """Collects one evaluation; `write` puts it into the run's folder, whole or not at all."""

    cfg: CfgNode  # of the run; OUTPUT_DIR is the folder
    split: Optional[str]  # "test", "val", or None for a run that ends without an evaluation
    weights: Mapping[str, Any]  # what `RunSaver.at_hand` says of the weights that are evaluated, JSON values
    settings: Mapping[str, Any]  # the run's, `experiment.settings_of`
    classnames: Sequence[str]  # those of the evaluation
    device: torch.device
    started: float  # time.time() at which the run began
    # what else a caller wants on record; of two values of one name, the one measured here stays
    facts: Mapping[str, Any]
    measure: Optional[Callable[[np.ndarray, np.ndarray], Dict[str, Any]]] = None  # of a test's logits and labels

    def __post_init__(self):
        self.test_started = time.time()
        self.keep = self.split == "test" and self.cfg.TEST.SAVE_PREDICTIONS
        self.measures = self.split == "test" and self.measure is not None
        self.n = 0
        self.logits: List[torch.Tensor] = []
        self.labels: List[torch.Tensor] = []
        self.impaths: Sequence[str] = ()

    def add(self, logits: torch.Tensor, label: torch.Tensor) -> None:
        """A batch: logits (B, n_cls), label (B,)."""
        self.n += len(label)
        if self.keep or self.measures:
            self.logits.append(logits.float().cpu())
            self.labels.append(label.cpu())

    def write(self, results: Optional[Mapping[str, float]] = None) -> None:
        """results: the evaluator's name -> percent; those of the test split make the run's `accuracy`.

        Anything else (of the validation images, or of no evaluation) leaves the result of an earlier test alone.
        Raises UserError if the folder cannot be written to.
        """
        path = os.path.join(self.cfg.OUTPUT_DIR, metrics_file.NAME)
        if self.split != "test" and self._is_result_to_keep(path):
            print(f"Note: {path} holds the result of a test and is left as it is")
            return
        predictions = os.path.join(self.cfg.OUTPUT_DIR, "predictions.npz")
        if self.keep:
            self._write_predictions(predictions)
        elif os.path.exists(predictions):  # of an earlier test
            os.remove(predictions)
        metrics_file.write_metrics(self.cfg.OUTPUT_DIR, self._metrics(results))

    def _metrics(self, results):
        metrics = {**what_ran(self.cfg, self.split), **self.weights}
        if results is not None:
            measured = {**{name: float(value) for name, value in results.items()}, "n": self.n}
            metrics.update(measured if self.split == "test" else {self.split: measured})
            if self.split == "test":
                if self.measures:
                    metrics.update(self.measure(*self._arrays()))
                metrics["test_pictures"] = content_of(self.impaths, notes_folder(self.cfg))
            metrics["test_seconds"] = round(time.time() - self.test_started, 2)
        metrics.update(
            n_cls=len(self.classnames),
            classnames=list(self.classnames),
            seconds=round(time.time() - self.started, 2),
            peak_memory_mb=peak_memory_mb(),
            device=device_name(self.device),
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "numpy": np.__version__,
            },
            git_commit=git_commit(),
            fingerprint=fingerprint(self.settings),
            settings=self.settings,
        )
        return {**self.facts, **metrics}

    def _is_result_to_keep(self, path):
        """Whether `path` holds a test's result, unless it is of fewer epochs of the training that goes on here."""
        try:
            earlier = metrics_file.read_metrics(self.cfg.OUTPUT_DIR)
            outdated = not self.weights["model_dir"] and not earlier.get("model_dir")
            outdated = outdated and earlier.get("trained_epochs", np.inf) < self.weights["trained_epochs"]
            return "accuracy" in earlier and not outdated
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserError(
                f'"{path}" cannot be read ({error.strerror}), and may hold a result: mend that, or move it away.'
            ) from error
        except (TypeError, ValueError):  # it is damaged
            return False

    def _arrays(self):
        """Logits (n, n_cls) and labels (n,) of the test."""
        return torch.cat(self.logits).numpy(), torch.cat(self.labels).numpy().astype(np.int64)

    def _write_predictions(self, path):
        logits, labels = self._arrays()
        write_whole(
            path,
            lambda f: np.savez_compressed(
                f,
                logits=logits,
                labels=labels,
                impaths=np.array(self.impaths),
                classnames=np.array(self.classnames),
            ),
        )


class Evaluation:
    """Stands where Dassl's test loop expects an evaluator: hands on to that, and keeps for the record, what it gets."""

    def __init__(self, evaluator: Any, reading: Any, record: RunRecord):
        """reading: the pass over the loader (`frozen_features.Reading`)."""
        self.evaluator, self.reading, self.record = evaluator, reading, record

    def reset(self) -> None:
        self.evaluator.reset()

    def process(self, logits: torch.Tensor, label: torch.Tensor) -> None:
        self.evaluator.process(logits, label)
        self.record.add(logits, label)

    def evaluate(self) -> Mapping[str, float]:
        reading, record = self.reading, self.record
        facts = {"features_from_store": reading.found}
        if reading.found:
            print(f"{reading.found:,} of {record.n:,} image features came from {reading.store.folder}")
        if reading.undecoded:
            print(f"{reading.undecoded:,} of {record.n:,} pictures came decoded from {reading.store.folder}")
            facts["pictures_from_store"] = reading.undecoded
        record.impaths, record.facts = reading.paths, {**record.facts, **facts}
        self.results = self.evaluator.evaluate()
        return self.results

    def write(self) -> None:
        self.record.write(self.results)


def what_ran(cfg: CfgNode, split: Optional[str]) -> Dict[str, Any]:
    """What metrics.json says first of a run that ended with a test on `split`, or (None) without any."""
    return {
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "subsample_classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "split": split,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
    }


def peak_memory_mb() -> float:
    """Peak memory in MiB: the GPU's allocations if there is one, else this process's resident set."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() or "cpu"


def git_commit() -> Optional[str]:
    """Commit of the checkout that this file lies in, "-dirty" if it has changes; None outside git."""
    where = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", where, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
