"""Figures of what methods make of data: images and texts side by side (t-SNE), as PNG and SVG."""

from dataclasses import dataclass

import matplotlib
import numpy as np
from sklearn.manifold import TSNE

from trainers.files.whole_files import write_whole

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

# Ten colours told apart by colour-blind readers: Petroff, arXiv 2107.02270
COLOURS = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()
POINTS = ("o", "^", "s")  # of images: the colours start again after ten classes
VIEWS = ("*", "D", "P", "X")  # of text views


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

    drawn = {"png": {"dpi": 200}, "svg": {"metadata": {"Date": None}}}
    with plt.rc_context({"svg.hashsalt": "tsne"}):  # the same figure is the same file
        for kind, options in drawn.items():
            write_whole(f"{stem}.{kind}", lambda file, o=options, kind=kind: figure.savefig(file, format=kind, **o))
    plt.close(figure)
    return [f"{stem}.{kind}" for kind in drawn]
