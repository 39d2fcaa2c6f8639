import pytest

from datasets.files import how_to_get, write_whole

GUIDE = """# Data sets

`a.txt` is not a step.

## Birds

1. Download `birds.zip` from <https://birds.example> and
   unpack it, so that `images/` lies in `$DATA/birds/`.
2. Download `a.txt`.

## Cats

1. Fetch `a.txt` elsewhere.
"""


@pytest.mark.parametrize(
    ("dataset", "name", "expected"),
    [
        (
            "Birds",
            "images",
            "download `birds.zip` from <https://birds.example> and unpack it, so that `images/` lies in `$DATA/birds/` "
            "(DATASETS.md, line 7)",
        ),
        ("Birds", "a.txt", "download `a.txt` (DATASETS.md, line 9)"),
        ("Cats", "a.txt", "fetch `a.txt` elsewhere (DATASETS.md, line 13)"),
        ("Cats", "images", "DATASETS.md says how to get it"),
        ("Dogs", "a.txt", "DATASETS.md says how to get it"),
    ],
)
def test_the_step_that_gets_a_file(dataset, name, expected, tmp_path):
    guide = tmp_path / "DATASETS.md"
    guide.write_text(GUIDE)
    assert how_to_get(dataset, name, guide) == expected


def test_without_the_guide(tmp_path):
    assert how_to_get("Birds", "a.txt", tmp_path / "none.md") == "DATASETS.md says how to get it"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_whole(str(path), lambda file: file.write("é"))
    assert path.read_text(encoding="utf-8") == "é"

    def interrupted(file):
        file.write("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(str(path), interrupted)
    assert path.read_text(encoding="utf-8") == "é"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
