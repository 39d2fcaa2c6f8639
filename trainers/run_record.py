"""What a finished run leaves behind for tables: metrics.json, and predictions.npz on request."""

import json
import os
import platform
import resource
import subprocess
import time

import numpy as np
import torch
import torchvision

from .prompting.checkpoint import write_atomically


class RunRecord:
    """Collects one evaluation; `write` puts it into the run's folder, whole or not at all."""

    def __init__(self, trainer, split):
        self.trainer, self.split = trainer, split
        self.start = time.time()
        self.keep = split == "test" and trainer.cfg.TEST.SAVE_PREDICTIONS
        self.n = 0
        self.logits, self.labels, self.impaths = [], [], []

    def add(self, logits, label, impaths):
        self.n += len(label)
        if self.keep:
            self.logits.append(logits.float().cpu())
            self.labels.append(label.cpu())
            self.impaths += impaths

    def write(self, results):
        """results: the evaluator's name -> percent."""
        trainer, cfg = self.trainer, self.trainer.cfg
        classnames = trainer.dm.dataset.classnames
        if self.keep:
            write_atomically(
                os.path.join(cfg.OUTPUT_DIR, "predictions.npz"),
                lambda f: np.savez_compressed(
                    f,
                    logits=torch.cat(self.logits).numpy(),
                    labels=torch.cat(self.labels).numpy().astype(np.int64),
                    impaths=np.array(self.impaths),
                    classnames=np.array(classnames),
                ),
            )
        metrics = {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "backbone": cfg.MODEL.BACKBONE.NAME,
            "subsample_classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            "split": self.split,
            "shots": cfg.DATASET.NUM_SHOTS,
            "seed": cfg.SEED,
            "epoch": trainer.trained_epochs,
            "model_dir": trainer.model_dir,
            **{name: float(value) for name, value in results.items()},
            "n": self.n,
            "n_cls": len(classnames),
            "seconds": round(time.time() - trainer.time_built, 2),
            "test_seconds": round(time.time() - self.start, 2),
            "peak_memory_mb": peak_memory_mb(),
            "device": device_name(trainer.device),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "numpy": np.__version__,
            },
            "git_commit": git_commit(),
        }
        write_atomically(
            os.path.join(cfg.OUTPUT_DIR, "metrics.json"),
            lambda f: f.write((json.dumps(metrics, indent=2) + "\n").encode()),
        )


def peak_memory_mb():
    """Peak memory in MiB: the GPU's allocations if there is one, else this process's resident set."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


def device_name(device):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() or "cpu"


def git_commit():
    """Commit of the checkout that this file lies in, "-dirty" if it has changes; None outside git."""
    where = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", where, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
