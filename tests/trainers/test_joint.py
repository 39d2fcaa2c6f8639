"""A joint test has the logits of the tests of base and of new classes, side by side, or the method is told the half."""

import numpy as np
import pytest

from harness.catalogue import METHODS as CATALOGUE
from tests.trainers.methods import METHODS

TOLD = {row.trainer for row in CATALOGUE if row.told_half}
ROWS = {
    name: row
    for name, row in METHODS.items()
    if row.batch_independent and any(row.trainer == one.trainer and one.has("joint") for one in CATALOGUE)
}


# Of each kind one that one waits for: no prompts in the image encoder, some, a frozen branch, told the half, a teacher
SOON = ("coop", "maple", "sep", "mmrl", "dept", "promptkd")


@pytest.mark.parametrize(
    "name", [name if name in SOON else pytest.param(name, marks=pytest.mark.long) for name in ROWS]
)
def test_the_logits_of_a_class_do_not_depend_on_the_others(name, make_trainer, tmp_path):
    method, options = ROWS[name], ("TEST.SAVE_PREDICTIONS", True, "OPTIM.MAX_EPOCH", 1)

    def test(classes):
        """Logits of the images of these classes; the model is trained on the base ones."""
        every = (*method.options, *options, "DATASET.SUBSAMPLE_CLASSES", classes)
        if method.trainer == "PromptKD" and classes != "base":
            every += ("TRAINER.PROMPTKD.TEACHER", "")  # as scripts leave it out of a test
        trainer = make_trainer(method.trainer, *every, output=tmp_path / classes)
        if classes == "base" and method.learns:
            trainer.train()
        else:
            trainer.load_model(str(tmp_path / "base") if method.learns else "")
            trainer.test()
        return np.load(tmp_path / classes / "predictions.npz")["logits"]

    base, new, joint = test("base"), test("new"), test("all")
    assert joint.shape == (18, 6)
    np.testing.assert_allclose(joint[9:, 3:], new, atol=2e-4, rtol=1e-4)
    alike = np.allclose(joint[:9, :3], base, atol=2e-4, rtol=1e-4)
    assert alike == (method.trainer not in TOLD)
