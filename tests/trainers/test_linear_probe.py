"""The sweep of CoOp's linear probe (tests/golden/README.md), and scikit-learn's classifier as a module."""

import numpy as np
import pytest
import torch

from tests.golden.compare import golden
from tests.golden.formula import base
from trainers.errors import NotFinite
from trainers.linear_probe import fit_regression, sweep, weights_of


def split(name, n):
    y = np.arange(6 * n) % 6
    return base("lp2.means", (6, 32))[y] * 0.3 + base(f"lp2.{name}", (6 * n, 32)), y


def test_sweep_and_classifier_are_those_of_coops_code():
    info, expected = golden("linear_probe")
    train, validation, test = split("train", 16), split("val", 4), split("test", 10)
    for n, (weight, accuracy) in enumerate(zip(info["weights"], info["test_accuracy"]), start=1):
        c = sweep(lambda c: fit_regression(*train, c).score(*validation), n)
        assert c == pytest.approx(weight)
        assert 100 * fit_regression(*train, c).score(*test) == pytest.approx(accuracy, abs=0.01)
    weight, bias = weights_of(fit_regression(*train, c))
    np.testing.assert_allclose(weight, expected["coef"], atol=1e-3)
    np.testing.assert_allclose(bias, expected["intercept"], atol=1e-3)


def test_a_sweep_fits_no_c_twice():
    asked = []

    def accuracy(c):
        asked.append(c)
        return -abs(np.log10(c) - 2.3)

    assert sweep(accuracy, 5) == pytest.approx(10**2.3, rel=0.5)
    assert len(asked) == len(set(asked))
    assert sweep(lambda c: 1.0, 1) == pytest.approx(1e5)  # of equals the first decade, and the smaller end


@pytest.mark.parametrize("n_cls", [2, 3])
def test_weights_give_scikit_learns_probabilities(n_cls):
    x, y = split("train", 16)
    x, y = x[y < n_cls], y[y < n_cls]
    regression = fit_regression(x, y, 0.1)
    weight, bias = weights_of(regression)
    assert weight.shape == (n_cls, 32) and bias.shape == (n_cls,)
    ours = torch.softmax(torch.from_numpy(x @ weight.T + bias), dim=-1)
    np.testing.assert_allclose(ours, regression.predict_proba(x), atol=1e-6)


def test_a_run_is_scikit_learns(make_trainer, capsys):
    """On features that are not normalised, of the test transform."""
    trainer = make_trainer("LinearProbe")
    trainer.train()
    c = float(capsys.readouterr().out.rpartition("\nC ")[2].split(":")[0])
    features, labels = zip(*trainer.training_features())
    x, y = torch.cat(features), torch.cat(labels)
    regression = fit_regression(x.double().numpy(), y.numpy(), c)
    images = torch.stack([trainer.test_loader.dataset[i]["img"] for i in range(6)])
    with torch.no_grad():
        logits, raw = trainer.model(images), trainer.model.image_encoder(images).double().numpy()
    np.testing.assert_allclose(logits.softmax(-1), regression.predict_proba(raw), atol=1e-3)


def test_features_that_are_not_finite_are_named(make_trainer):
    trainer = make_trainer("LinearProbe")
    trainer.training_features = lambda: [(torch.full((6, 32), float("nan")), torch.arange(6))]
    with pytest.raises(NotFinite, match="Image features are infinite or NaN: use other weights of CLIP, and start"):
        trainer.train()
