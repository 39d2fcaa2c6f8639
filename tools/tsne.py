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
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from sklearn.manifold import TSNE

from dassl.utils import MissingFile, UserError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import import_all, set_random_seed
from harness.config import merge_file
from harness.errors import fail
from harness.layout import has_result, read_record

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

# Ten colours told apart by colour-blind readers: Petroff, arXiv 2107.02270
COLOURS = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()
POINTS = ("o", "^", "s")  # of images: the colours start again after ten classes
VIEWS = ("*", "D", "P", "X")  # of text views
IMAGES_PER_CLASS = 50


@dataclass
class Panel:
    """What one method makes of the data: image (n, dim), label (n,), views: name -> (n_cls, dim)."""

    title: str
    image: np.ndarray
    label: np.ndarray
    views: dict
    classnames: list


def embed(panel):
    """t-SNE of images and texts together: (n, 2), and per view (n_cls, 2)."""
    parts = [_centred(panel.image), *map(_centred, panel.views.values())]
    features = np.concatenate(parts)
    perplexity = min(30, (len(features) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    image, *views = np.split(points, np.cumsum([len(part) for part in parts])[:-1])
    return image, dict(zip(panel.views, views))


def _centred(features):
    """Without their mean, and of unit length again: Euclidean distances then rank as cosines do."""
    features = features - features.mean(axis=0)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def plot(panels, stem):
    """Draw panels, which share their classes, to `stem`.png and `stem`.svg; returns the two paths."""
    classnames = panels[0].classnames
    view_names = list(dict.fromkeys(name for panel in panels for name in panel.views))
    view_marker = dict(zip(view_names, VIEWS))
    class_style = [(COLOURS[c % len(COLOURS)], POINTS[c // len(COLOURS)]) for c in range(len(classnames))]

    size = (4.2 * len(panels), 5.2)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for panel, ax in zip(panels, axes[0]):
        image, views = embed(panel)
        for c, (colour, marker) in enumerate(class_style):
            x, y = image[panel.label == c].T
            ax.scatter(x, y, s=12, color=colour, marker=marker, alpha=0.6, linewidths=0)
            for name, points in views.items():
                style = {"marker": view_marker[name], "edgecolors": "black", "linewidths": 0.9, "zorder": 3}
                ax.scatter(*points[c], s=170 if style["marker"] == "*" else 70, color=colour, **style)
        ax.set_title(panel.title)
        ax.set(xticks=[], yticks=[])

    def handle(label, marker, colour, size, edge="none"):
        return Line2D([], [], ls="", label=label, marker=marker, color=colour, ms=size, mec=edge)

    handles = [handle(name, m, c, 7) for name, (c, m) in zip(classnames, class_style)]
    for name in view_names:
        label = name if name == "text" else f"text, {name}"
        handles.append(handle(label, view_marker[name], "white", 9, "black"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2 * len(panels), frameon=False)

    paths = [f"{stem}.png", f"{stem}.svg"]
    with plt.rc_context({"svg.hashsalt": "tsne"}):  # the same figure is the same file
        figure.savefig(paths[0], dpi=200)
        figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths


# ---- what runs hold ----------------------------------------------------------------------------------------


def read_run(folder):
    """Config and metrics (empty before the run's first test) of a folder that train.py wrote."""
    path = Path(folder, "config.yaml")
    if not path.is_file():
        raise MissingFile(f"{folder} is no folder of a run, as it has no config.yaml: train one first.")
    cfg = get_cfg_default()
    merge_file(cfg, path)
    cfg.freeze()
    try:
        record = read_record(folder)
    except FileNotFoundError:
        record = {}
    return cfg, record if has_result(record) else {}


@torch.no_grad()
def load_panel(folder, title, cfg, split, n_classes):
    """Build a run's trainer, load its newest checkpoint and take the features of `n_classes` classes."""
    set_random_seed(max(cfg.SEED, 0))
    trainer = build_trainer(cfg)
    if trainer.optim is not None and not any(Path(folder).glob("*/model*.pth.tar*")):
        raise MissingFile(f"{folder} has no checkpoint: give the folder that {cfg.TRAINER.NAME} was trained in.")
    trainer.load_model(str(folder))
    trainer.set_model_mode("eval")
    loader = trainer.val_loader if split == "val" else trainer.test_loader
    if loader is None:
        raise UserError(f"{cfg.DATASET.NAME} has no validation images: draw --split test.")

    classnames = trainer.dm.dataset.classnames[:n_classes]
    wanted, left = len(classnames), Counter({c: IMAGES_PER_CLASS for c in range(len(classnames))})
    images, labels = [], []
    with trainer.precision.autocast():
        views = {name: _array(view[:wanted]) for name, view in trainer.model.text_views().items()}
        for batch in loader:
            image, label = trainer.parse_batch_test(batch)
            kept = [i for i, c in enumerate(label.tolist()) if _take(left, c)]
            if kept:
                images.append(_array(trainer.model.encode_image(image[kept])))
                labels.append(label[kept].cpu().numpy())
            if not +left:
                break
    return Panel(title, np.concatenate(images), np.concatenate(labels), views, classnames)


def _take(left, c):
    if left[c] > 0:
        left[c] -= 1
        return True
    return False


def _array(features):
    return features.float().cpu().numpy()


def titles_of(folders, runs):
    """Method, and accuracy over all classes of the run; runs of one method are told apart by the end of their path."""
    methods = [cfg.TRAINER.NAME for cfg, _ in runs]
    titles = []
    for folder, (_, metrics), method in zip(folders, runs, methods):
        if methods.count(method) > 1:
            method += f" ({'/'.join(Path(folder).resolve().parts[-2:])})"
        titles.append(method + (f"\ntest accuracy {metrics['accuracy']:.1f} %" if "accuracy" in metrics else ""))
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
        runs = [read_run(folder) for folder in args.runs]
        for folder, (cfg, _) in zip(args.runs[1:], runs[1:]):
            if _data(cfg) != _data(runs[0][0]):
                raise UserError(f"{folder} is of other data than {args.runs[0]}: give runs on the same classes.")
    except Exception as error:
        return fail(error, 2)
    try:
        panels = [
            load_panel(folder, title, cfg, args.split, args.classes)
            for folder, title, (cfg, _) in zip(args.runs, titles_of(args.runs, runs), runs)
        ]
        Path(args.output).mkdir(parents=True, exist_ok=True)
        for path in plot(panels, Path(args.output, "tsne")):
            print(path)
    except Exception as error:
        return fail(error, 1)
    return 0


def _data(cfg):
    return cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES


if __name__ == "__main__":
    sys.exit(main())
