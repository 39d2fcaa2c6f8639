"""Collect a model's predictions batch by batch and turn them into results."""

import os.path as osp
from collections import OrderedDict

import numpy as np
import torch

from dassl.utils import Registry, write_whole

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg, **kwargs):
    """Build the evaluator called `cfg.TEST.EVALUATOR`. Raises ValueError, with known names, if none is."""
    cls = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)
    if cfg.VERBOSE:
        print(f"Loading evaluator: {cfg.TEST.EVALUATOR}")
    return cls(cfg, **kwargs)


class EvaluatorBase:
    """`reset()`, then `process()` for each batch, then `evaluate()`."""

    def __init__(self, cfg):
        self.cfg = cfg

    def reset(self):
        raise NotImplementedError

    def process(self, mo, gt):
        """Take in a batch: model output `mo` and ground truth `gt`."""
        raise NotImplementedError

    def evaluate(self):
        """Print and return the results, an OrderedDict whose first value is the one that counts."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error rate and macro-averaged F1 score, in percent.

    `lab2cname` (class name by label) is needed for `cfg.TEST.PER_CLASS_RESULT`.
    """

    def __init__(self, cfg, lab2cname=None, **kwargs):
        super().__init__(cfg)
        self._lab2cname = lab2cname
        self.reset()

    def reset(self):
        self._y_true = []
        self._y_pred = []

    def process(self, mo, gt):
        """Take in a batch: scores `mo` (batch, n_cls) and labels `gt` (batch,)."""
        self._y_true.extend(gt.tolist())
        self._y_pred.extend(mo.argmax(dim=1).tolist())

    def evaluate(self):
        """Print and return "accuracy", "error_rate" and "macro_f1" in percent.

        F1 is averaged over the classes that occur in the ground truth. `cfg.TEST.PER_CLASS_RESULT` adds
        "perclass_accuracy", averaged over the same classes.
        """
        from sklearn.metrics import confusion_matrix, f1_score  # here: it takes as long to import as PyTorch

        y_true, y_pred = np.array(self._y_true), np.array(self._y_pred)
        matches = y_true == y_pred
        correct, total = int(matches.sum()), len(matches)
        results = OrderedDict()
        results["accuracy"] = 100.0 * correct / total
        results["error_rate"] = 100.0 - results["accuracy"]
        results["macro_f1"] = 100.0 * float(f1_score(y_true, y_pred, average="macro", labels=np.unique(y_true)))
        print(
            "=> result\n"
            f"* total: {total:,}\n"
            f"* correct: {correct:,}\n"
            f"* accuracy: {results['accuracy']:.1f}%\n"
            f"* error: {results['error_rate']:.1f}%\n"
            f"* macro_f1: {results['macro_f1']:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(y_true, matches)
        if self.cfg.TEST.COMPUTE_CMAT:
            path = osp.join(self.cfg.OUTPUT_DIR, "cmat.pt")
            # rows: true class, columns: predicted class, both only as far as they occur; each row sums to 1
            matrix = torch.from_numpy(confusion_matrix(y_true, y_pred, normalize="true"))
            write_whole(path, lambda file: torch.save(matrix, file), "wb")
            print(f"Confusion matrix is saved to {path}")
        return results

    def _print_per_class(self, y_true, matches):
        print("=> per-class result")
        accuracies = []
        for label in np.unique(y_true).tolist():
            of_class = matches[y_true == label]
            accuracies.append(100.0 * float(of_class.mean()))
            print(
                f"* class: {label} ({self._lab2cname[label]})\t"
                f"total: {len(of_class):,}\t"
                f"correct: {int(of_class.sum()):,}\t"
                f"acc: {accuracies[-1]:.1f}%"
            )
        average = sum(accuracies) / len(accuracies)
        print(f"* average: {average:.1f}%")
        return average
