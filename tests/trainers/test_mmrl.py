"""MMRL beyond the golden numbers: its two features, and which of them predicts."""

import pytest
import torch

from tests.trainers.methods import METHODS

OPTIONS = METHODS["mmrl"].options


def test_which_features_predict(build):
    model = build("mmrl").eval()
    image = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        f, r = model.both_features(image)
        g = model.encode_text()
        tau = model.logit_scale.exp()
        torch.testing.assert_close(model(image), tau * (0.7 * f + 0.3 * r) @ g.t())
        model.seen_classes = False
        torch.testing.assert_close(model(image), tau * f @ g.t())


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (("DATASET.SUBSAMPLE_CLASSES", "base"), True),
        (("DATASET.SUBSAMPLE_CLASSES", "new"), False),
        (("DATASET.SUBSAMPLE_CLASSES", "all"), False),
    ],
)
def test_a_run_knows_which_classes_it_was_trained_on(make_trainer, tmp_path, options, seen):
    base = ("DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    trained = make_trainer("MMRL", *OPTIONS, *base, output=tmp_path / "trained")
    trained.train()
    assert trained.model.seen_classes
    test = make_trainer("MMRL", *OPTIONS, "OPTIM.MAX_EPOCH", 1, *options, output=tmp_path / "test")
    test.load_model(str(tmp_path / "trained"))
    assert test.model.seen_classes == seen


def test_another_data_set_of_the_same_classes_is_another(make_trainer, tmp_path):
    """A domain shift, as in the authors' code."""
    options = (*OPTIONS, "OPTIM.MAX_EPOCH", 1)
    make_trainer("MMRL", *options, "TEST.NO_TEST", True, output=tmp_path / "trained").train()
    test = make_trainer("MMRL", *options, output=tmp_path / "test")
    test.loader.settings = {**test.settings, "DATASET.NAME": "TinyDataSketched"}
    test.load_model(str(tmp_path / "trained"))
    assert not test.model.seen_classes
