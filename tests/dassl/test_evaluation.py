import pytest
import torch

from dassl.config import get_cfg_default
from dassl.evaluation import build_evaluator

LAB2CNAME = {0: "cat", 1: "dog", 2: "cow", 3: "owl"}
# predictions 0 1 1 2 0 3, truth 0 1 2 2 0 0: four of six right; class 3 never occurs in the truth
SCORES = torch.eye(4)[[0, 1, 1, 2, 0, 3]]
LABELS = torch.tensor([0, 1, 2, 2, 0, 0])


def evaluate(cfg):
    evaluator = build_evaluator(cfg, lab2cname=LAB2CNAME)
    evaluator.process(torch.eye(4), torch.zeros(4))  # forgotten by reset
    evaluator.reset()
    evaluator.process(SCORES[:4], LABELS[:4])
    evaluator.process(SCORES[4:], LABELS[4:])
    return evaluator.evaluate()


def test_results_and_their_print(capsys):
    results = evaluate(get_cfg_default())
    f1 = 100 * (0.8 + 2 / 3 + 2 / 3) / 3  # of the classes that occur in the truth
    assert list(results) == ["accuracy", "error_rate", "macro_f1"]
    assert list(results.values()) == pytest.approx([200 / 3, 100 / 3, f1])
    assert capsys.readouterr().out == (
        "Loading evaluator: Classification\n"
        "=> result\n* total: 6\n* correct: 4\n* accuracy: 66.7%\n* error: 33.3%\n* macro_f1: 71.1%\n"
    )


def test_per_class_results(capsys):
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    results = evaluate(cfg)
    assert results["perclass_accuracy"] == pytest.approx(100 * (2 / 3 + 1 + 1 / 2) / 3)
    assert list(results)[0] == "accuracy"
    assert capsys.readouterr().out.endswith(
        "=> per-class result\n"
        "* class: 0 (cat)\ttotal: 3\tcorrect: 2\tacc: 66.7%\n"
        "* class: 1 (dog)\ttotal: 1\tcorrect: 1\tacc: 100.0%\n"
        "* class: 2 (cow)\ttotal: 2\tcorrect: 1\tacc: 50.0%\n"
        "* average: 72.2%\n"
    )


def test_confusion_matrix(tmp_path):
    cfg = get_cfg_default()
    cfg.TEST.COMPUTE_CMAT = True
    cfg.OUTPUT_DIR = str(tmp_path)
    evaluate(cfg)
    matrix = torch.load(tmp_path / "cmat.pt", weights_only=True)
    expected = [[2 / 3, 0, 0, 1 / 3], [0, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0]]
    assert torch.allclose(matrix, torch.tensor(expected, dtype=torch.float64))
