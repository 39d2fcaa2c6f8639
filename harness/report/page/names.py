"""What the page calls runs, and in what order and groups it shows them."""

from collections import defaultdict

from ...catalogue import TRAINERS
from ...layout import PARTS
from ..cost import PROTOCOLS
from ..results import ORDER, rank, shots_rank, shots_text
from ..tables import method_text


def place_text(run) -> str:
    """On what a run trains, or is tested: "shapes, base classes, 16 shots"."""
    what = {
        "base": "base classes",
        "new": "new classes",
        "joint": "base and new classes",
        "source": "all classes, as source",
        "target": f"target of {run.source}" if run.source else "as target",
        "all": "all classes",
    }
    folder = "" if run.root in ("", ".") else f" ({run.root})"
    return f"{run.dataset}, {what[run.part]}, {shots_text(run.shots)}{folder}"


def in_order(runs) -> list:
    """As the tables have them: by folder, protocol and part, shots, data set, method, seed."""
    parts = [(part.protocol, part.name) for part in PARTS.values()]

    def key(run):
        place = parts.index((run.protocol, run.part)), shots_rank(run.shots), rank(ORDER, run.dataset)
        return (
            run.root,
            PROTOCOLS.index(run.protocol),
            *place,
            run.source,
            rank(TRAINERS, run.trainer),
            run.cfg,
            run.seed,
        )

    return sorted(runs, key=key)


def names_of(runs) -> dict:
    """{(trainer, config): name}, with the config where a trainer has several."""
    configs = defaultdict(list)
    for run in in_order(runs):
        if run.cfg not in configs[run.trainer]:
            configs[run.trainer].append(run.cfg)
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
