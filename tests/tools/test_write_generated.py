import shutil

import pytest

from tests.conftest import REPOSITORY
from tools import write_generated


def test_nothing_is_stale():
    assert write_generated.stale() == [], "run tools/write_generated.py"


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    for page in ("README.md", "DATASETS.md"):
        shutil.copy(REPOSITORY / page, tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs/config.md", tmp_path / "docs")
    return tmp_path


def test_what_is_stale_is_found_and_mended(copy, capsys):
    (copy / "scripts/sep/xd_test.sh").write_text("")
    (copy / "scripts/coop/few_shot.sh").unlink()
    (copy / "scripts/gone").mkdir()
    (copy / "scripts/gone/few_shot.sh").write_text("")
    readme = (copy / "README.md").read_text()
    (copy / "README.md").write_text(readme.replace("| `tcp`", "| `tpc`"))
    steps = (copy / "DATASETS.md").read_text()
    (copy / "DATASETS.md").write_text(steps.replace("lies in `$DATA/dtd/`", "lies there"))
    wrong = [
        "DATASETS.md",
        "README.md",
        "scripts/coop/few_shot.sh",
        "scripts/gone/few_shot.sh",
        "scripts/sep/xd_test.sh",
    ]
    assert write_generated.stale(copy) == wrong
    assert write_generated.main(["--check"], copy) == 1 and write_generated.stale(copy) == wrong
    assert write_generated.main([], copy) == 0 and write_generated.stale(copy) == []
    assert write_generated.main(["--check"], copy) == 0
    assert (copy / "README.md").read_text() == readme and (copy / "DATASETS.md").read_text() == steps


def test_every_key_says_what_it_is():
    lines = [line for line in write_generated.config_page().splitlines() if line.startswith("| `")]
    assert len(lines) > 120
    assert [line for line in lines if line.endswith("|  |") and "VERSION" not in line] == []


def test_a_comment_above_belongs_to_the_keys_below(tmp_path):
    path = tmp_path / "method.py"
    path.write_text(
        "# Both\nDEFAULTS.A = Key(1, TOKENS)\nDEFAULTS.B = 2\nDEFAULTS.C = 3  # its own\n\nDEFAULTS.D = 4\n"
    )
    assert write_generated.meanings(path) == {"A": "Both", "B": "Both", "C": "its own", "D": ""}
