"""TEST.REMEDIES: temperature and DAC, by formulas, by hand and in whole tests."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import metrics
from harness.report.measure import measure_of
from tests.trainers.methods import METHODS
from trainers.errors import UserError
from trainers.remedies import SAME, distance_aware, remedies_of

BOTH = ("TEST.REMEDIES", ["temperature", "dac"])
LEARN = ("OPTIM.MAX_EPOCH", 2, "OPTIM.LR", 0.1, "OPTIM.WARMUP_EPOCH", 0)  # so that tuned features move


def unit(*angles):
    """Unit vectors in the plane."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_dac_by_hand():
    """Of one training's class at angle 0: tuning moves the new class at 1 to 1.2, and leaves the other where it is."""
    tuned_base, tuned, plain_base, plain = unit(0.0), unit(0.0, 1.2, 0.5), unit(0.0), unit(0.1, 1.0, 0.5)
    chord = lambda angle: 2 * np.sin(angle / 2)  # noqa: E731
    found = distance_aware(tuned_base, tuned, plain_base, plain)
    assert found == pytest.approx([1.0, np.exp(chord(1.0) - chord(1.2)), 1.0])
    assert found[1] < 1  # further from what it was trained on than it was: less sure


def test_dac_takes_the_nearest_five():
    base = unit(0.0, 0.2, 0.4, 0.6, 0.8, 3.0)
    here, there = distance_aware(base, unit(0.5), base, unit(1.0)), base[:5]
    distance = lambda angle: np.linalg.norm(unit(angle) - there, axis=1).mean()  # noqa: E731
    assert here == pytest.approx([np.exp(distance(1.0) - distance(0.5))])
    assert distance_aware(base, unit(0.4 + 0.9 * SAME), base, unit(1.0)) == [1.0]


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_the_fitted_temperature_is_the_likeliest(seed, scale):
    """At it, the mean logit that the model expects is the mean logit of the labels: the derivative by 1 / T is zero."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(200, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in p])
    found = metrics.fit_temperature(scale * logits, labels)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(found / scale, rel=1e-3)
    q = np.exp(scale * logits / found)
    q /= q.sum(axis=1, keepdims=True)
    assert (q * logits).sum() / 200 == pytest.approx(logits[np.arange(200), labels].mean(), abs=1e-3)


def made(make_trainer, row, classes, folder, *options):
    """metrics.json of a test with both remedies, and the logits of the images, of the model in `folder` / base."""
    every = (*row.options, *LEARN, "TEST.SAVE_PREDICTIONS", True, "DATASET.SUBSAMPLE_CLASSES", classes, *options)
    trainer = make_trainer(row.trainer, *every, output=folder / classes)
    model_dir = "" if classes == "base" else str(folder / "base")
    remedies = remedies_of(trainer, model_dir, None)
    trainer.measure = measure_of(str(folder / classes), remedies)
    (folder / classes).mkdir(exist_ok=True)
    (folder / classes / "config.yaml").write_text(trainer.cfg.dump())
    if classes == "base" and row.learns:
        trainer.train()
    else:
        trainer.load_model(model_dir if row.learns else "")
        trainer.test()
    assert set(remedies(lambda *_: 4.0)["temperature"]) == {0.25}
    record = json.loads((folder / classes / "metrics.json").read_text())
    with np.load(folder / classes / "predictions.npz") as file:
        return record, file["logits"], file["labels"]


@pytest.mark.parametrize("name", ["coop", "sep", pytest.param("maple", marks=pytest.mark.long)])
def test_a_test_with_remedies(make_trainer, tmp_path, name):
    base, base_logits, base_labels = made(make_trainer, METHODS[name], "base", tmp_path, *BOTH)
    plain = metrics.calibration(base_logits, base_labels)
    assert base["calibration"] == pytest.approx(plain)  # what is not remedied stays
    assert base["remedied"]["dac"]["ece"] == pytest.approx(plain["ece"])  # on the training's own classes it is 1
    factor = base["remedied"]["temperature"]["least_factor"]
    assert base["remedied"]["temperature"]["nll"] == pytest.approx(
        metrics.calibration(base_logits * factor, base_labels)["nll"], rel=1e-5
    )
    new, logits, labels = made(make_trainer, METHODS[name], "new", tmp_path, *BOTH)
    assert new["remedied"]["temperature"]["least_factor"] == pytest.approx(factor)  # of the same validation images
    with_it = metrics.calibration(logits * factor, labels)
    assert new["remedied"]["temperature"]["ece"] == pytest.approx(with_it["ece"])
    least, largest = (new["remedied"]["dac"][key] for key in ("least_factor", "largest_factor"))
    assert 0 < least <= largest and (largest > 1.001 or least < 0.999)
    assert new["accuracy"] == pytest.approx(100 * (logits.argmax(axis=1) == labels).mean())


def test_who_has_none(make_trainer, tmp_path, capsys):
    zero_shot = make_trainer("ZeroshotCLIP", *BOTH)
    assert remedies_of(zero_shot, "", None) is None and "has learned from no classes" in capsys.readouterr().out
    assert remedies_of(make_trainer("CoOp"), "", None) is None
    with pytest.raises(UserError, match="CoCoOp's text features differ with each image.*leave it out"):
        remedies_of(make_trainer("CoCoOp", "TRAINER.COCOOP.N_CTX", 2, *BOTH), "", None)
    trainer = make_trainer("CoOp", *BOTH)
    with pytest.raises(UserError, match="leave --load-epoch .LOADEP. out"):
        remedies_of(trainer, str(tmp_path), 1)
    trainer.dm.dataset.val = trainer.dm.dataset.test
    with pytest.raises(UserError, match="has no validation images that are not tested, too"):
        remedies_of(trainer, "", None)
    with pytest.raises(UserError, match="TEST.REMEDIES is .'cold'., but must be"):
        make_trainer("CoOp", "TEST.REMEDIES", ["cold"])
    with pytest.raises(UserError, match="TEST.REMEDIES are measured by the train.py that these methods come with"):
        make_trainer("CoOp", *BOTH).test()  # as in a fork
