import re

import pytest

from harness.forks import troubles
from tests.conftest import REPOSITORY
from tests.harness.forks.trees import coop

DASSL = {
    "engine/trainer.py": "",
    "__init__.py": "",
    "data/datasets/dg/__init__.py": "from .pacs import PACS\nfrom .wilds import *\n",
    "optim/lr_scheduler.py": "\n\n        super().__init__(optimizer, last_epoch, verbose)\n",
    "utils/torchtools.py": "        checkpoint = torch.load(fpath, map_location=map_location)\n",
    "data/transforms/randaugment.py": "    img_np = np.array(img).astype(np.int)\n",
}


def write_dassl(folder):
    for path, text in DASSL.items():
        (folder / "dassl" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "dassl" / path).write_text(text)
    return folder / "dassl"


@pytest.mark.parametrize("where", ["own", "carried", "installed", "beside"])
def test_lines_that_fail_are_named(tmp_path, where, monkeypatch):
    fork = coop(tmp_path / "forks/CoOp")
    folders = {
        "own": fork,
        "carried": fork / "Dassl",
        "installed": tmp_path / "site",
        "beside": tmp_path / "forks/Dassl",
    }
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    dassl = write_dassl(folders[where])
    write_dassl(coop(tmp_path / "forks/Another"))  # a fork that carries its own
    assert troubles.find_dassl(fork) == dassl
    found = troubles.of_fork(fork)
    places = ["data/datasets/dg/__init__.py:2", "optim/lr_scheduler.py:3", "utils/torchtools.py:1"]
    places.append("data/transforms/randaugment.py:1")
    assert [line.split(" ")[0] for line in found] == [f"{dassl}/{place}" for place in places]
    assert "fails without the package wilds: delete the line" in found[0]
    for path, text in (("optim/lr_scheduler.py", "super().__init__(optimizer, last_epoch)\n"),):
        (dassl / path).write_text(text)
    assert len(troubles.of_fork(fork)) == 3


def test_clip(tmp_path):
    fork = coop(tmp_path / "CoOp")
    (fork / "clip").mkdir()
    (fork / "clip/clip.py").write_text("import os\nfrom pkg_resources import packaging\n")
    assert any(line.startswith(f"{fork}/clip/clip.py:2 fails with setuptools 81") for line in troubles.of_fork(fork))


@pytest.mark.parametrize(("says", "n"), [("Finish training", 1), ("Finished training", 0)])
def test_a_parser_that_waits_for_another_line(tmp_path, says, n):
    fork = coop(tmp_path / "MaPLe")
    (fork / "parse_test_res.py").write_text('    end_signal = "Finished training"\n')
    (write_dassl(fork / "Dassl") / "engine/trainer.py").write_text(f'print("{says}")\n')
    assert sum("parse_test_res.py:1 fails" in line and "--test-log" in line for line in troubles.of_fork(fork)) == n


@pytest.mark.parametrize("trouble", [*troubles.IN_DASSL, *troubles.IN_CLIP], ids=lambda trouble: trouble.path)
def test_the_page_has_them(trouble):
    page = (REPOSITORY / "docs/forks.md").read_text()
    row = next(line for line in page.splitlines() if f"/{trouble.path}`" in line)
    assert re.search(f"`{trouble.line}`", row) and trouble.change.split(",")[0].removesuffix(" the line") in row


def test_no_dassl(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    assert "docs/forks.md" in troubles.of_fork(coop(tmp_path / "CoOp"))[0]


def test_this_repositorys_own_is_not_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [str(troubles.ROOT)])
    assert troubles.find_dassl(coop(tmp_path / "CoOp")) is None
