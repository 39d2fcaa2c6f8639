"""Numbers from logits: by hand (docs/metrics.md), against scikit-learn, and by brute force."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss, recall_score, roc_auc_score

from harness.report.metrics import Bin, by_class, calibration, joint, reliability
from tests.conftest import REPOSITORY, python

PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
CLASSES = ["cat", "dog", "bird", "fish"]  # of the page; the first two are base classes


def rows_between(name):
    """The cells of the table between <!-- name --> and <!-- /name -->, without its header."""
    table = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", PAGE, re.DOTALL)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.replace(r"\|", "").splitlines()[2:]]


@pytest.fixture
def example():
    rows = rows_between("example")
    probabilities = np.array([[float(cell) for cell in row[2:]] for row in rows])
    return np.log(probabilities), np.array([CLASSES.index(row[1]) for row in rows])


def drawn(n=500, classes=7, dtype=np.float32):
    """Logits of a model that is right now and then, and labels; each class has images."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    logits = rng.normal(0, 2, (n, classes))
    logits[np.arange(n), labels] += 2
    return logits.astype(dtype), labels


def everything(logits, labels, n_base=2, bins=15):
    return {**calibration(logits, labels, bins), **joint(logits, labels, n_base), **by_class(logits, labels)}


def test_the_example_of_the_page(example):
    found = everything(*example, bins=4)
    values = rows_between("values")
    assert [row[0].strip("`") for row in values] == [name for name in found if name != "bins"]
    for name, value, *_ in values:
        decimals = len(value.split(".")[1])
        assert f"{found[name.strip('`')]:.{decimals}f}" == value, name
    assert found["bins"] == 4


def test_bins_of_the_example(example):
    assert reliability(*example, bins=4) == [
        Bin(None, None, 0),
        (pytest.approx(125 / 3), pytest.approx(100 / 3), 3),
        (pytest.approx(65), pytest.approx(50), 2),
        (pytest.approx(80), pytest.approx(100), 1),
    ]


def test_json_can_write_them():
    found = everything(*drawn(), bins=np.int64(10))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {type(value) for value in found.values()} == {int, float} and type(found["bins"]) is int
    assert json.loads(json.dumps(reliability(*drawn()), allow_nan=False))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_scikit_learn_has_too(dtype):
    logits, labels = drawn(dtype=dtype)
    found = everything(logits, labels, n_base=3)
    probabilities, predicted = softmax(logits.astype(float), axis=1), logits.argmax(axis=1)
    base = labels < 3
    within = np.where(base, logits[:, :3].argmax(axis=1), 3 + logits[:, 3:].argmax(axis=1))
    accuracy = 100 * accuracy_score(labels, predicted)
    expected = {
        "accuracy": accuracy,
        "base": 100 * accuracy_score(labels[base], predicted[base]),
        "new": 100 * accuracy_score(labels[~base], predicted[~base]),
        "base_within": 100 * accuracy_score(labels[base], within[base]),
        "new_within": 100 * accuracy_score(labels[~base], within[~base]),
        "auroc": 100 * roc_auc_score(base, probabilities[:, :3].max(axis=1)),
        "nll": log_loss(labels, probabilities, labels=range(7)),
        "brier": ((probabilities - np.eye(7)[labels]) ** 2).sum(axis=1).mean(),
        "overconfidence": 100 * probabilities.max(axis=1).mean() - accuracy,
        "macro_recall": 100 * recall_score(labels, predicted, average="macro"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def binned_gap(probability, hit, edges):
    """Guo et al.'s sum, bin by bin, for bins with their upper edge."""
    gap = 0
    for low, high in zip(edges, edges[1:]):
        inside = (probability > low) & (probability <= high)
        if inside.any():
            gap += inside.mean() * abs(probability[inside].mean() - hit[inside].mean())
    return 100 * gap


@pytest.mark.parametrize("bins", [1, 10, 15, 20])
def test_calibration_errors_bin_by_bin(bins):
    logits, labels = drawn()
    found = calibration(logits, labels, bins)
    probabilities, right = softmax(logits.astype(float), axis=1), logits.argmax(axis=1) == labels
    confidence, edges = probabilities.max(axis=1), np.linspace(0, 1, bins + 1)
    assert found["ece"] == pytest.approx(binned_gap(confidence, right, edges))
    by_one = [binned_gap(probabilities[:, k], labels == k, edges) for k in range(7)]
    assert found["classwise_ece"] == pytest.approx(np.mean(by_one))
    order = np.argsort(confidence)
    parts = [order[np.arange(500) * bins // 500 == place] for place in range(bins)]
    assert {len(part) for part in parts} <= {500 // bins, 500 // bins + 1}
    gaps = [len(part) * abs(confidence[part].mean() - right[part].mean()) for part in parts]
    assert found["ece_mass"] == pytest.approx(100 * sum(gaps) / 500)
    filled = [b for b in reliability(logits, labels, bins) if b.count]
    assert sum(b.count for b in filled) == 500
    assert sum(b.count * abs(b.confidence - b.accuracy) for b in filled) / 500 == pytest.approx(found["ece"])


GRID = st.integers(2, 5).flatmap(
    lambda c: st.tuples(
        st.lists(st.tuples(st.lists(st.integers(-2, 2), min_size=c, max_size=c), st.integers(0, c - 1)), min_size=1),
        st.integers(1, c - 1),
    )
)


@given(GRID)
def test_areas_by_brute_force(case):
    """Few different logits, and so many ties."""
    images, n_base = case
    logits, labels = np.array([row for row, _ in images], np.float16), np.array([label for _, label in images])
    found, sure = joint(logits, labels, n_base), calibration(logits, labels)
    probabilities = softmax(logits.astype(float), axis=1)
    scores, confidence = probabilities[:, :n_base].max(axis=1), probabilities.max(axis=1)
    base, new = np.flatnonzero(labels < n_base), np.flatnonzero(labels >= n_base)
    won = openworld = 0.0
    for i in base:
        for j in new:
            point = float(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
            both = logits[i, :n_base].argmax() == labels[i] and n_base + logits[j, n_base:].argmax() == labels[j]
            won, openworld = won + point, openworld + point * both
    pairs = len(base) * len(new)
    if pairs:
        assert found["auroc"] == pytest.approx(100 * won / pairs)
        assert found["openworld_auc"] == pytest.approx(100 * openworld / pairs)
        assert found["openworld_auc"] <= found["auroc"] + 1e-9
        assert found["openworld_auc"] <= found["base_within"] * found["new_within"] / 100 + 1e-9
    else:
        assert found["auroc"] is found["openworld_auc"] is found["h"] is found["h_within"] is None
    wrong = logits.argmax(axis=1) != labels
    assert sure["aurc"] == pytest.approx(100 * np.mean([wrong[confidence >= limit].mean() for limit in confidence]))
    assert abs(sure["overconfidence"]) <= sure["ece"] + 1e-9


@given(GRID, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(case, random):
    images, n_base = case
    results = []
    for order in (images, random.sample(images, len(images))):
        results.append(everything(np.array([row for row, _ in order]), np.array([k for _, k in order]), n_base))
    assert results[0] == pytest.approx(results[1], abs=1e-9)


def test_nor_do_the_chunks(monkeypatch):
    whole = everything(*drawn(), n_base=3)
    for at_once in (1, 7 * 32, 7 * 33):
        monkeypatch.setattr("harness.report.metrics._AT_ONCE", at_once)
        assert everything(*drawn(), n_base=3) == pytest.approx(whole, rel=1e-12)


def test_what_is_given_stays_as_it_is():
    logits, labels = drawn(dtype=np.float64)
    logits.flags.writeable = labels.flags.writeable = False
    everything(logits, labels)


def test_certain_of_everything():
    """Confidences of exactly 1, in the last bin; softmax neither overflows nor has a logarithm of 0."""
    logits = np.array([[30000, -30000, 0], [30000, -30000, 0]], np.float16)
    found = calibration(logits, np.array([0, 1], np.uint8))
    assert found["mean_confidence"] == 100 and found["nll"] == 30000 and found["brier"] == 1
    assert found["ece"] == found["ece_mass"] == found["overconfidence"] == found["aurc"] == 50
    assert found["classwise_ece"] == pytest.approx(100 / 3)  # half of the images, for two of three classes
    bins = reliability(logits, [0, 1])
    assert bins[:-1] == [(None, None, 0)] * 14 and bins[-1] == (100, 50, 2)


def test_one_image():
    found = everything(np.zeros((1, 4), np.float32), [0])
    assert found["ece"] == found["ece_mass"] == 75 and found["aurc"] == 0 and found["brier"] == 0.75
    assert found["accuracy"] == found["base"] == found["base_within"] == found["macro_recall"] == 100
    assert found["base_as_new"] == 0
    assert {name for name, value in found.items() if value is None} == {
        *("new", "h", "new_within", "h_within", "new_as_base", "auroc", "openworld_auc")
    }


def test_the_first_of_equal_logits_is_chosen():
    logits = np.zeros((4, 4))
    found = joint(logits, [0, 1, 2, 3], 2)
    assert (found["base"], found["new"], found["h"], found["new_as_base"]) == (50, 0, 0, 100)
    assert (found["base_within"], found["new_within"], found["auroc"]) == (50, 50, 50)
    assert found["openworld_auc"] == 12.5  # one pair of four, and it is a tie


def test_probabilities_that_are_equal_do_not_make_a_tie_of_logits():
    """In float64 both probabilities are 0.5, though one logit is larger."""
    logits = np.array([[0.0, 1e-17]])
    assert by_class(logits, [1])["macro_recall"] == 100 and calibration(logits, [1])["aurc"] == 0


def test_classes_without_images_have_no_recall():
    logits = np.eye(30)[[0, 0, 5, 7]]
    assert by_class(logits, [0, 1, 5, 5]) == {"macro_recall": 50, "worst_tenth": 0}  # 1, 0 and 1/2


def test_the_worst_tenth_is_rounded_down():
    labels = np.arange(29)
    predicted = labels.copy()
    predicted[3] = 4
    assert by_class(np.eye(29)[predicted], labels)["worst_tenth"] == 50  # two of 29: class 3 and one that is right


@pytest.mark.parametrize("measure", [calibration, reliability, by_class, lambda *given: joint(*given, 1)])
@pytest.mark.parametrize(
    "logits, labels, says",
    [
        ([[0, np.nan]], [0], "not finite"),
        ([[0, np.inf]], [0], "not finite"),
        ([[0, 1], [0, -np.inf]], [0, 0], "not finite"),
        (np.zeros((0, 2)), np.zeros(0, int), "nothing can be measured of 0 images"),
        (np.zeros((2, 0)), [0, 0], "and 0 classes"),
        ([0.0, 1.0], [0, 1], "images x classes"),
        ([["a", "b"]], [0], "images x classes"),
        ([[0.0, 1.0]], [0, 1], "labels are 1 integers"),
        ([[0.0, 1.0]], [[0]], "labels are 1 integers"),
        ([[0.0, 1.0]], [0.0], "labels are 1 integers"),
        ([[0.0, 1.0]], [2], "from 0 to 1, not from 2 to 2"),
        ([[0.0, 1.0]], [-1], "from 0 to 1, not from -1 to -1"),
    ],
)
def test_what_cannot_be_measured(measure, logits, labels, says):
    with pytest.raises(ValueError, match=says) as error:
        measure(logits, labels)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n_base", [-1, 0, 2, 3])
def test_a_half_without_classes(n_base):
    with pytest.raises(ValueError, match=f"between 1 and 1 can be base classes, not {n_base}$"):
        joint([[0.0, 1.0]], [0], n_base)


@pytest.mark.parametrize("measure", [calibration, reliability])
def test_no_bin(measure):
    with pytest.raises(ValueError, match="at least one bin, not 0"):
        measure([[0.0, 1.0]], [0], 0)


def test_importing_it_is_cheap():
    code = "import sys, harness.report.metrics; print(*{name.split('.')[0] for name in sys.modules})"
    assert not set(python(code).split()) & {"torch", "scipy", "sklearn", "tabulate", "dassl", "trainers"}


@pytest.mark.long
def test_imagenet_in_little_memory():
    """All numbers of 50,000 images and 1,000 classes: under 2 GB, logits included."""
    code = """
import resource
import numpy as np
from harness.report.metrics import by_class, calibration, joint, reliability
rng = np.random.default_rng(0)
logits, labels = rng.standard_normal((50000, 1000), np.float32), rng.integers(0, 1000, 50000)
calibration(logits, labels), reliability(logits, labels), joint(logits, labels, 500), by_class(logits, labels)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    assert float(python(code)) < 2
