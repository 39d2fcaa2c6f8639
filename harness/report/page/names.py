"""What the page calls runs, and in what order and groups it shows them."""

from collections import defaultdict

from ...catalogue import TRAINERS
from ...layout import PARTS
from ..cost import KINDS
from ..measured import TESTS
from ..results import ORDER, rank, shots_rank, shots_text
from ..tables import method_text


def place_text(run) -> str:
    """On what a run trains, or is tested: "shapes, base classes, 16 shots"."""
    what = {**TESTS, **KINDS, "target": f"target of {run.source}" if run.source else "as target"}
    folder = "" if run.root in ("", ".") else f" ({run.root})"
    return f"{run.dataset}, {what[run.part]}, {shots_text(run.shots)}{folder}"


def in_order(runs) -> list:
    """As the tables have them: by folder, protocol and part, shots, data set, method, seed."""
    parts = [(part.protocol, part.name) for part in PARTS.values()]

    def key(run):
        place = run.root, parts.index((run.protocol, run.part)), shots_rank(run.shots), rank(ORDER, run.dataset)
        return *place, run.source, rank(TRAINERS, run.trainer), run.cfg, run.seed

    return sorted(runs, key=key)


def names_of(runs) -> dict:
    """{(trainer, config): name}, with the config where a trainer has several."""
    configs = defaultdict(dict)  # trainer -> its configs, in order and each once
    for run in in_order(runs):
        configs[run.trainer][run.cfg] = None
    return {
        (trainer, cfg): method_text(trainer) + (f" {cfg}" if len(of) > 1 else "")
        for trainer, of in configs.items()
        for cfg in of
    }


def by_kind(runs) -> dict:
    """Runs in groups that differ in their seeds alone, in the tables' order."""
    groups = defaultdict(list)
    for run in in_order(runs):
        groups[run._replace(seed=0).what].append(run)
    return groups
