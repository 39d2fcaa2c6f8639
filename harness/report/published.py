"""Published accuracies (configs/published.yaml) beside ours, and the distance between them."""

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..catalogue import BUNDLED, DATASETS, TRAINERS, learns, targets
from ..config import flatten, read_config
from ..errors import UserError
from .results import Number, combine, mean_and_std, measured, number, rank, same_seeds, shots_rank, signed
from .tables import Table, in_papers_order, leave_out, method_text, seeds_text

ROOT = Path(__file__).resolve().parents[2]
FILE = str(ROOT / "configs/published.yaml")
SOURCE_DATASET = "imagenet"  # of xd and dg
MEASURES = {"base2new": ("base", "new", "H"), "xd": ("accuracy",), "dg": ("accuracy",)}
AVERAGED = {  # the data sets that a published average is over
    "base2new": DATASETS,
    "xd": targets("xd", SOURCE_DATASET),
    "dg": targets("dg", SOURCE_DATASET),
}
DATASETS_OF = {
    "base2new": [*DATASETS, "average"],
    "xd": [SOURCE_DATASET, *AVERAGED["xd"], "average"],
    "dg": [SOURCE_DATASET, *AVERAGED["dg"], "average"],
}
_TEXTS = ("document", "paper", "protocol", "backbone", "says")
_KEYS = (*_TEXTS, "shots", "numbers")  # and "settings", which most do without
_ROUNDING = 0.011  # how far an H of two rounded accuracies, itself rounded, can be from theirs, and a little


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
    """The Sources in a file, in its order. Raises FileNotFoundError, and ValueError naming the place in the file."""
    return [_source(file, name, entry) for name, entry in read_config(file).items()]


def _source(file, name, entry):
    where = f"{file}, {name}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must hold the keys {', '.join(_KEYS)}")
    for key in _KEYS:
        if not entry.get(key):
            raise UserError(f"{where} has no {key}: a published number needs its source and what it is of")
    unknown = next((key for key in entry if key not in (*_KEYS, "settings")), None)
    if unknown:
        raise UserError(f"{where} has an unknown key {unknown}: known are {', '.join(_KEYS)}, settings")
    protocol = _known(where, "protocol", str(entry["protocol"]), list(MEASURES))
    if not re.fullmatch(r"\d{4}\.\d{5}", str(entry["paper"])):
        raise UserError(f"{where}: paper is {entry['paper']!r}, but must be an arXiv number in quotes")
    if not isinstance(entry["numbers"], Mapping):
        raise UserError(f"{where}: numbers must be accuracies by method and data set")
    numbers = {}
    for trainer, datasets in entry["numbers"].items():
        _known(where, "method", trainer, list(TRAINERS))
        if not isinstance(datasets, Mapping):
            raise UserError(f"{where}: {trainer} must have accuracies by data set")
        for dataset, values in datasets.items():
            _known(where, "data set", dataset, DATASETS_OF[protocol])
            for of, value in _measures(f"{where}, {trainer} on {dataset}", protocol, values):
                numbers[trainer, dataset, of] = value
    texts = {key: str(entry[key]) for key in _TEXTS}
    settings = entry.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}: settings must be config keys with their values")
    return Source(name=name, shots=str(entry["shots"]), numbers=numbers, settings=dict(flatten(settings)), **texts)


def _known(where, what, name, names):
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names
        raise UserError(f"{where}: there is no {what} {name} here; nearest: {', '.join(near)}")
    return name


def _measures(where, protocol, values):
    """Pairs of measure and percentage; H may be left out."""
    expected = MEASURES[protocol]
    values = values if isinstance(values, list) else [values]
    fits = len(values) in {len(expected), 2 if protocol == "base2new" else 1}
    if not fits or not all(type(value) in (int, float) and 0 <= value <= 100 for value in values):
        raise UserError(f"{where} is {values}, but must be {', '.join(expected)} in percent")
    h = combine(*values[:2])
    if len(values) == 3 and abs(h - values[2]) > _ROUNDING:
        raise UserError(f"{where}: H is {values[2]}, but of {values[0]} and {values[1]} it is {h:.2f}")
    return zip(expected, map(float, values))


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
    return same and _has_backbone(run, source.backbone)


def _has_backbone(run, backbone):
    """Whether a run is on record with this backbone, by its name or in a file's name (ViT-B-16.pt), or with none.

    Published backbones are OpenAI's: what open_clip and transformers name by architectures has other weights.
    """
    name = str(run.settings.get("MODEL.BACKBONE.NAME", backbone))
    others = name.startswith(("open_clip:", "hf:")) or run.settings.get("MODEL.BACKBONE.ACTIVATION") == "gelu"
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
            means.append(mean_and_std(one.value for one in ones.values())[0])
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
