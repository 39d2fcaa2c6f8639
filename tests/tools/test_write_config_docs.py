from tests.conftest import REPOSITORY
from tools import write_config_docs


def test_the_page_is_not_stale():
    assert write_config_docs.main(["--check"]) == 0, "run tools/write_config_docs.py"


def test_every_key_says_what_it_is():
    lines = [line for line in write_config_docs.page().splitlines() if line.startswith("| `")]
    assert len(lines) > 120
    assert [line for line in lines if line.endswith("|  |") and "VERSION" not in line] == []


def test_a_comment_above_belongs_to_the_keys_below(tmp_path):
    path = tmp_path / "method.py"
    path.write_text(
        "# Both\nDEFAULTS.A = Key(1, TOKENS)\nDEFAULTS.B = 2\nDEFAULTS.C = 3  # its own\n\nDEFAULTS.D = 4\n"
    )
    assert write_config_docs.meanings(path) == {"A": "Both", "B": "Both", "C": "its own", "D": ""}
    assert (REPOSITORY / write_config_docs.PAGE).is_file()
