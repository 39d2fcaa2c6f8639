"""Published accuracies (configs/published.yaml) beside ours, and the distance between them."""

import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ..catalogue import BUNDLED, DATASETS, PUBLISHED_SHIFTS, TRAINERS, learns, targets
from ..config import flatten, read_config
from .measured import measured
from .results import Number, combine, number, rank, same_seeds, shots_rank, signed
from .tables import Table, in_papers_order, leave_out, method_text, seeds_text

ROOT = Path(__file__).resolve().parents[2]
FILE = str(ROOT / "configs/published.yaml")
SOURCE_DATASET = "imagenet"  # of xd and dg
MEASURES = {"base2new": ("base", "new", "H"), "xd": ("accuracy",), "dg": ("accuracy",)}
AVERAGED = {  # the data sets that a published average is over
    "base2new": DATASETS,
    "xd": targets("xd", SOURCE_DATASET),
    "dg": PUBLISHED_SHIFTS,
}
DATASETS_OF = {
    "base2new": [*DATASETS, "average"],
    "xd": [SOURCE_DATASET, *AVERAGED["xd"], "average"],
    "dg": [SOURCE_DATASET, *AVERAGED["dg"], "average"],
}


class Source(NamedTuple):
    """One published table: what it is of, and its numbers in percent by (trainer, data set, measure)."""

    name: str
    document: str  # GitHub repository and file
    paper: str  # arXiv number
    protocol: str
    backbone: str
    says: str  # what its numbers are: measured, or collected from papers
    shots: str
    numbers: dict
    settings: dict = {}  # by config key: what runs must have on record to be compared; never changed


# ---- reading ---------------------------------------------------------------------------------------------------


def read_published(file: str = FILE) -> list:
    """The Sources in a file, in its order."""
    return [_source(name, entry) for name, entry in read_config(file).items()]


def _source(name, entry):
    numbers = {}
    for trainer, datasets in entry["numbers"].items():
        for dataset, values in datasets.items():
            values = values if isinstance(values, list) else [values]  # of base2new, H may be left out
            for of, value in zip(MEASURES[entry["protocol"]], values):
                numbers[trainer, dataset, of] = float(value)
    texts = {key: str(entry[key]) for key in ("document", "paper", "protocol", "backbone", "says", "shots")}
    return Source(name, numbers=numbers, settings=dict(flatten(entry.get("settings", {}))), **texts)


# ---- beside ours -------------------------------------------------------------------------------------------------


class Ours(NamedTuple):
    """One number of ours, in the order of the table."""

    title: str
    folder: str
    shots: str
    dataset: str
    trainer: str
    config: str
    of: str
    shown: Number
    seeds: str


def published_tables(runs, protocol: str, sources) -> list:
    """A table beside each of ours of a protocol: our numbers that have published ones, these, and their distance.

    Runs are compared with sources of their backbone (those that have none on record with all), of their number of shots
    and of the settings that a source asks for. A table without rows says in its notes why.
    """
    sources = [source for source in sources if source.protocol == protocol]
    everything, mixed = measured(runs, protocol)
    rows, used = defaultdict(list), defaultdict(dict)
    for source in sources:
        comparable, _ = measured([run for run in runs if _is_comparable(run, source)], protocol)
        for ours in _ours(comparable, protocol):
            theirs = source.numbers.get((ours.trainer, ours.dataset, ours.of))
            if theirs is not None and (ours.shots == source.shots or not learns(ours.trainer)):
                rows[ours.title].append((ours, theirs, source.name))
                used[ours.title][source.name] = source
    tables = []
    for title in dict.fromkeys(one.title for one in everything):
        found = sorted(rows[title], key=lambda row: _order(row[0], protocol))  # sources stay in their order
        notes = [*_notes(used[title].values(), mixed)] if found else []
        notes += _without([one for one in everything if one.title == title], found, sources)
        table = leave_out(HEADERS, [_row(*row) for row in found], ("folder", "shots", "config", "of"))
        tables.append(Table(f"{title}, beside published numbers", notes, *table))
    return tables


HEADERS = "folder, shots, data set, method, config, of, ours, published, distance, source, seeds".split(", ")


def _row(ours, theirs, source):
    place = [ours.folder, ours.shots, ours.dataset, method_text(ours.trainer), ours.config, ours.of]
    return [*place, ours.shown, number(theirs), signed(ours.shown.value - theirs), source, ours.seeds]


def _order(ours, protocol):
    datasets = rank(DATASETS_OF[protocol], ours.dataset)
    of = MEASURES[protocol].index(ours.of)
    return ours.folder, shots_rank(ours.shots), datasets, rank(TRAINERS, ours.trainer), ours.config, of


def _is_comparable(run, source):
    """Whether a run had the source's backbone and settings."""
    same = all(run.settings.get(key) == value for key, value in source.settings.items())
    return same and has_backbone(run.settings, source.backbone)


def has_backbone(settings, backbone):
    """Whether settings name this backbone, by its name or in a file's name (ViT-B-16.pt), or none.

    Published backbones are OpenAI's: what open_clip and transformers name by architectures has other weights.
    """
    name = str(settings.get("MODEL.BACKBONE.NAME", backbone))
    others = name.startswith(("open_clip:", "hf:")) or settings.get("MODEL.BACKBONE.ACTIVATION") == "gelu"
    return not others and _letters(backbone) in _letters(name)


def _letters(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _ours(found, protocol):
    """Ours of a list of Measured, with the averages over the data sets that published ones are over."""
    methods = defaultdict(lambda: defaultdict(dict))
    for one in found:
        if one.value is not None and one.source in ("", SOURCE_DATASET):
            method = (one.title, one.folder, one.shots, one.trainer, one.config)
            methods[method][one.of][one.dataset] = one
    for (title, folder, shots, trainer, config), measures in methods.items():
        means = []
        for of in MEASURES[protocol]:
            ones = measures[of]
            for one in ones.values():
                shown = number(one.value) if of == "H" else one.cells[of].shown
                yield Ours(title, folder, shots, one.dataset, trainer, config, of, shown, seeds_text(one.cells))
            if not set(AVERAGED[protocol]) <= set(ones):
                continue
            ones = {dataset: ones[dataset] for dataset in AVERAGED[protocol]}
            cells = {dataset: cell for dataset, one in ones.items() for cell in one.cells.values()}
            if protocol != "base2new" and not same_seeds(cells):
                continue
            means.append(statistics.fmean(one.value for one in ones.values()))
            mean = combine(*means[:2]) if of == "H" else means[-1]
            seeds = f"{len(ones)} data sets: {seeds_text(cells)}"
            yield Ours(title, folder, shots, "average", trainer, config, of, number(mean), seeds)


def _notes(sources, mixed):
    yield "Distance: ours minus published, which is rounded and of other runs: see the spread and number of seeds."
    yield from mixed
    for s in sources:
        yield f"{s.name}: {s.document} (arXiv {s.paper}; {s.backbone}, {s.shots} shots): {s.says}."


def _without(everything, found, sources):
    """Sentences on what of ours has no published number."""
    drawn = [name for name in BUNDLED if name in {one.dataset for one in everything}]
    if drawn:
        yield f"Nobody has published numbers of {', '.join(drawn)}: these pictures are drawn here."
    known = {trainer for source in sources for trainer, _, _ in source.numbers}
    unknown = {one.trainer for one in everything} - known
    if len(drawn) < len({one.dataset for one in everything}):
        if unknown:
            yield f"No published number was found of {', '.join(in_papers_order(unknown))}."
        elif not found:
            yield "No published number is of the backbone, shots and data sets of these runs."
