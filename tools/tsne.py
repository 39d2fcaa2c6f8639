"""Draw image features and text features of trained methods side by side (t-SNE), as PNG and SVG.

    python tools/tsne.py output/base2new/train_base/shapes/shots_16/{CoOp,E2MIM}/shapes/seed1

One panel per run: its images as small points and its text features as large markers, one marker per text
view, coloured by class. It shows the first classes of the data set and up to 50 images of each.

CLIP's image and text features lie apart from each other whatever they depict. So that their classes can be
compared, each modality, and each text view, is centred on its own mean before t-SNE (our choice; centring
the text features changes no prediction). Distances between far-away clusters mean nothing in any t-SNE.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
import numpy as np

import datasets
import own_methods
import trainers
from dassl.data.datasets import build_dataset
from dassl.utils import UserError, import_all
from harness.errors import exit_with, fail
from harness.records import has_result
from inference.api import load_run
from inference.figures import COLOURS, POINTS, Panel, plot

IMAGES_PER_CLASS = 50


def load_panel(run, title, split, n_classes):
    """Load a run's newest prompts and take the features of `n_classes` classes of its data set."""
    dataset = build_dataset(run.cfg)
    model = load_run(run.folder, dataset.classnames)
    items = dataset.val if split == "val" else dataset.test
    if not items:
        raise UserError(f"{run.cfg.DATASET.NAME} has no validation images: draw --split test.")

    classnames = dataset.classnames[:n_classes]
    views = {name: view[: len(classnames)].numpy() for name, view in model.text_views().items()}
    left, n = Counter({c: IMAGES_PER_CLASS for c in range(len(classnames))}), run.cfg.DATALOADER.TEST.BATCH_SIZE
    images, labels = [], []
    for i in range(0, len(items), n):
        kept = [item for item in items[i : i + n] if _take(left, item.label)]
        if kept:
            images.append(model.encode_image([item.impath for item in kept]).numpy())
            labels += [item.label for item in kept]
        if not +left:
            break
    return Panel(title, np.concatenate(images), np.array(labels), views, classnames)


def _take(left, c):
    if left[c] > 0:
        left[c] -= 1
        return True
    return False


def titles_of(runs):
    """Method, and accuracy over all classes of the run; runs of one method are told apart by the end of their path."""
    methods = [run.cfg.TRAINER.NAME for run in runs]
    titles = []
    for run, title in zip(runs, methods):
        if methods.count(title) > 1:
            title += f" ({'/'.join(Path(run.folder).resolve().parts[-2:])})"
        titles.append(title + (f"\ntest accuracy {run.record['accuracy']:.1f} %" if has_result(run.record) else ""))
    return titles


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="output folder of train.py")
    parser.add_argument("--split", default="test", choices=["test", "val"], help="images to draw")
    parser.add_argument("--classes", type=int, default=10, metavar="N", help="how many classes (default 10)")
    parser.add_argument("--output", default="output", metavar="DIR", help="folder for tsne.png and tsne.svg")
    args = parser.parse_args(argv)
    most = len(COLOURS) * len(POINTS)
    if not 1 <= args.classes <= most:
        parser.error(f"--classes must be 1 to {most}, as many as can be told apart, not {args.classes}")

    import_all(trainers)
    import_all(datasets)
    try:
        first, *others = runs = [own_methods.run_folder(folder) for folder in args.runs]
        for run in others:
            if _data(run) != _data(first):
                raise UserError(f"{run.folder} is of other data than {first.folder}: give runs on the same classes.")
    except Exception as error:
        return fail(error, 2)
    panels = [load_panel(run, title, args.split, args.classes) for run, title in zip(runs, titles_of(runs))]
    for path in plot(panels, Path(args.output, "tsne")):
        print(path)
    return 0


def _data(run):
    return run.cfg.DATASET.NAME, run.cfg.DATASET.SUBSAMPLE_CLASSES


if __name__ == "__main__":
    exit_with(main)
