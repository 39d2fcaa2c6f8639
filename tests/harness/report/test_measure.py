"""What metrics.json gets from a test's logits, by the folder of its run."""

import numpy as np

from harness.report import metrics
from harness.report.measure import measure_of
from tests.harness.runs import run_dir

RNG = np.random.RandomState(0)
LOGITS, LABELS = RNG.randn(40, 5).astype(np.float32), RNG.randint(0, 5, 40)


def test_a_joint_test_has_joint_numbers_and_others_have_none(tmp_path):
    for part in ("base", "new", "source", "target", "few_shot", "joint"):
        found = measure_of(run_dir(tmp_path, part, 1))(LOGITS, LABELS)
        assert found["calibration"] == metrics.calibration(LOGITS, LABELS)
        assert found["by_class"] == metrics.by_class(LOGITS, LABELS)
        assert found.get("joint") == (metrics.joint(LOGITS, LABELS, 3) if part == "joint" else None)  # 3 of 5 are base
    assert "joint" not in measure_of(tmp_path)(LOGITS, LABELS)
