"""Every (method, protocol, data set): the config that the scripts name exists, and so does every key in it."""

import functools
import subprocess

import pytest

import train
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from tests.scripts.conftest import METHODS, ROOT

DATASETS = sorted(path.stem for path in (ROOT / "configs/datasets").glob("*.yaml"))
PROTOCOLS = [("base2new", 16), ("xd", 16), *(("few_shot", shots) for shots in (1, 2, 4, 8, 16))]
ASK = """
set -euo pipefail
. "$1"
echo "$TRAINER $TRAINS"
while read -r dataset protocol shots; do default_cfg "$dataset" "$protocol" "$shots"; done
"""


def ask(method):
    """(trainer, trains), and the config's name for each (data set, protocol, shots)."""
    triples = [(dataset, *protocol) for dataset in DATASETS for protocol in PROTOCOLS]
    answer = subprocess.run(
        ["bash", "-c", ASK, "bash", str(ROOT / "scripts" / method / "method.sh")],
        input="".join(" ".join(map(str, triple)) + "\n" for triple in triples),
        check=True,
        capture_output=True,
        text=True,
    )
    head, *names = answer.stdout.splitlines()
    assert len(names) == len(triples)
    return head.split(), dict(zip(triples, names))


def merge(trainer, dataset, name):
    return train.setup_cfg(
        train.parse_args(
            [
                *("--trainer", trainer),
                *("--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml")),
                *("--config-file", str(ROOT / f"configs/trainers/{trainer}/{name}.yaml")),
            ]
        )
    )


@pytest.fixture(autouse=True)
def each_file_read_once(monkeypatch):
    monkeypatch.setattr(train, "read_config", functools.lru_cache(maxsize=None)(train.read_config))


@pytest.mark.parametrize("method", METHODS)
def test_every_config_of_the_scripts_merges(method):
    (trainer, trains), names = ask(method)
    assert trainer == METHODS[method] and trains in ("yes", "no")
    for dataset, name in sorted({(dataset, name) for (dataset, _, _), name in names.items()}):
        cfg = merge(trainer, dataset, name)
        assert cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names()
        assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
        offline = dataset.split("_")[0] == "shapes"
        assert (cfg.MODEL.BACKBONE.NAME == "shapes-tiny") is offline, (dataset, name)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/trainers").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_config_file_merges_and_says_what_it_is(path):
    """Also those that only CFG=... chooses."""
    merge(path.parent.name, "caltech101", path.stem)
    assert path.read_text().startswith("# ")
