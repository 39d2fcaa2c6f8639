"""Runs with all that the page shows, and a reader of the page's HTML."""

from html.parser import HTMLParser

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from harness.report.page import render_page
from harness.report.runs import find_runs
from tests.harness.runs import finish
from tools.report import PROTOCOLS

CLASSNAMES = ["cat", "dog", "owl"]
# Of 4 images a class: one cat is taken for a dog, two owls for dogs, one for a cat
LABELS = np.repeat(np.arange(3), 4)
PREDICTED = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 2])
ACCURACY = 100 * 8 / 12


def write_predictions(run, predicted=PREDICTED, classnames=CLASSNAMES):
    """predictions.npz in a run's folder, and its images beside it."""
    paths = [run / f"images/{i}.png" for i in range(len(LABELS))]
    (run / "images").mkdir(exist_ok=True)
    for i, path in enumerate(paths):
        Image.new("RGB", (100, 50), (20 * i, 100, 200)).save(path)
    logits = np.eye(3, dtype=np.float32)[predicted]
    names = {"impaths": np.array(list(map(str, paths))), "classnames": np.array(classnames)}
    np.savez_compressed(run / "predictions.npz", logits=logits, labels=LABELS, **names)
    return paths


def write_curves(run, curves, time=0.0):
    """A tensorboard file of {tag: {step: value}}."""
    writer = EventFileWriter(str(run / "tensorboard"), filename_suffix=f".{time}")
    for tag, points in curves.items():
        for step, value in points.items():
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(wall_time=time + step, step=step, summary=summary))
    writer.close()


def full_output(output):
    """CoOp and SEP, two seeds of every protocol; SEP's first training has curves, predictions and a t-SNE figure."""
    for seed in (1, 2):
        for trainer, more in (("CoOp", 0.0), ("SEP", 1.0)):
            settings = {"OPTIM.LR": 0.002, "TRAINER.NAME": trainer}
            record = {"seconds": 60.5, "device": "GPU", "versions": {"torch": "2.13.0"}, "git_commit": "abc123"}
            where = {"trainer": trainer, "settings": settings, "record": record}
            finish(output, "base", seed, 80 + more + seed, **where)
            finish(output, "new", seed, 70 - more + seed, **where)
            finish(output, "source", seed, 75 + more, **where)
            for target in ("mini_counts", "shapes_dark"):
                finish(output, "target", seed, 50 + more, source="shapes", dataset=target, **where)
            for shots in (1, 4):
                finish(output, "few_shot", seed, 60 + shots + more + seed, shots=shots, **where)
    run = finish(output, "base", 1, ACCURACY, **where).parent
    write_predictions(run)
    steps = range(20)
    write_curves(run, {"train/loss": {i: 2.0 - i / 20 for i in steps}, "train/ce": {i: 1.5 - i / 20 for i in steps}})
    (output / "figures").mkdir()
    Image.new("RGB", (40, 30)).save(output / "figures/tsne.png")
    return output


def page_of(output, protocols=PROTOCOLS):
    runs, warnings = find_runs(output)
    return render_page(output, runs, warnings, {name: PROTOCOLS[name][1](runs) for name in protocols})


class Page(HTMLParser):
    """What is in a page: its source, (tag, attributes) of all elements, {caption: rows} of its tables, all text."""

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.elements, self.tables, self.text, self._open = [], {}, "", []
        self.feed(text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if "script" in self._open or "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif "td" in self._open or "th" in self._open:
            self._rows[-1][-1] += data
