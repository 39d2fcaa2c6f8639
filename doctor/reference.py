"""Zero-shot CLIP beside its published accuracies: what differs there differs for every method."""

import functools
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

from benchmarks.config import REPOSITORY, config_of
from dassl.engine import build_trainer
from harness.catalogue import BUNDLED, DOMAIN_SHIFTS
from harness.config import read_config
from harness.report.published import has_backbone, read_published

from .findings import FAULT, NOTE, OK, Finding

TRAINER = "ZeroshotCLIP"
OURS = str(REPOSITORY / "configs/zero_shot.yaml")  # of the bundled data sets
TOLERANCE, TOLERANCE_16 = 0.1, 0.3  # percentage points in fp32, and in what has 16 bits
ONLY_TESTS = sum(DOMAIN_SHIFTS.values(), [])  # which have no halves
USUALLY = (
    "usually another split file, another template, pictures squashed and not cropped, layers with gelu and not "
    "quickgelu, or another backbone"
)


def reference(name: str, root: str, backbone: str) -> Iterator[Finding]:
    """Test on the base, the new and all classes of a data set that is there, by its name in configs/datasets/."""
    ours, prec = zero_shot(name, root, backbone)
    published, check = known(name, backbone), f"reference, {name}"
    tolerance = TOLERANCE if prec == "fp32" else TOLERANCE_16
    shown, far = [], []
    for of, value in ours.items():
        nearest = min(published[of], key=lambda number: abs(number - value), default=None)
        shown.append(f"{of} {value:.2f}" + (f" ({nearest:.2f})" if nearest is not None else ""))
        if nearest is not None and round(abs(nearest - value), 2) > tolerance:
            far.append(of)
    text = f"{', '.join(shown)} in {prec}"
    if far:
        text = f"{text}: {' and '.join(far)} more than {tolerance} from what is known (in brackets)"
        yield Finding(FAULT, check, text, USUALLY)
    elif any(published[of] for of in ours):
        yield Finding(OK, check, f"{text}; in brackets what is known of {backbone}")
    else:
        yield Finding(NOTE, check, f"{text}; nothing is known of {backbone} here")


_published = functools.cache(read_published)


def known(name: str, backbone: str) -> dict:
    """Accuracies in percent of zero-shot CLIP on a data set: {base, new or all: list of numbers}."""
    found, settings = defaultdict(list), {"MODEL.BACKBONE.NAME": backbone}
    if name in BUNDLED:
        of_ours = read_config(OURS)
        numbers = of_ours["numbers"][name] if backbone == of_ours["backbone"] else {}
        found.update({of: [number] for of, number in numbers.items()})
        return found
    for source in _published():
        for (trainer, dataset, of), number in source.numbers.items():
            if (trainer, dataset) == (TRAINER, name) and of != "H" and has_backbone(settings, source.backbone):
                found["all" if of == "accuracy" else of].append(number)
    return found


def zero_shot(name: str, root: str, backbone: str):
    """({base, new, all: accuracy in percent}, precision); of a data set that is for tests alone, all.

    One pass over all test images: a class's logit does not depend on which others there are.
    """
    dataset, stem = f"{REPOSITORY}/configs/datasets/{name}.yaml", "shapes" if name in BUNDLED else "vit_b16"
    config = f"{REPOSITORY}/configs/trainers/{TRAINER}/{stem}.yaml"
    taken = []
    with tempfile.TemporaryDirectory() as output, redirect_stdout(StringIO()):
        files = ["--dataset-config-file", dataset, "--config-file", config, "--root", root, "--output-dir", output]
        cfg = config_of(["--trainer", TRAINER, "--seed", "1", *files, "--backbone", backbone, "STORE.MAX_GB", "0"])
        trainer = build_trainer(cfg)
        trainer.measure = lambda logits, labels: taken.extend((logits, labels)) or {}
        trainer.test()
    logits, labels = taken
    parts = {"all": slice(0, logits.shape[1])}
    if name not in ONLY_TESTS:
        half = math.ceil(logits.shape[1] / 2)
        parts = {"base": slice(0, half), "new": slice(half, None), **parts}
    return {of: _accuracy(logits, labels, part) for of, part in parts.items()}, trainer.precision.prec


def _accuracy(logits, labels, part):
    """Of the images of a range of classes, among which each is to be told, in percent."""
    start, stop, _ = part.indices(logits.shape[1])
    own = (labels >= start) & (labels < stop)
    return 100 * float((logits[own, part].argmax(1) + start == labels[own]).mean())
