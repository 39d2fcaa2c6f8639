import pytest

from datasets import sources
from datasets.sources import how_to_get

YAML = """
mirror: someone/birds
steps:
  Birds:
    - gets: [images]
      file: birds.zip
      url: https://birds.example/birds.zip
      step: Download `{file}` from <{url}> and unpack it.
    - gets: [a.txt, b.txt]
      step: Copy `a.txt`, `b.txt`.
  Cats:
    - gets: [a.txt]
      step: Fetch `a.txt` elsewhere.
"""
GUIDE = """# Data sets

1. Not a step.

## Birds

1. Download `birds.zip` from <https://birds.example/birds.zip> and
   unpack it.
2. Copy `a.txt`.

## Cats

1. Fetch `a.txt` elsewhere.
"""
DOWNLOAD = "download `birds.zip` from <https://birds.example/birds.zip> and unpack it"


@pytest.fixture(autouse=True)
def birds(monkeypatch, tmp_path):
    (tmp_path / "sources.yaml").write_text(YAML)
    (tmp_path / "DATASETS.md").write_text(GUIDE)
    monkeypatch.setattr(sources, "SOURCES", str(tmp_path / "sources.yaml"))
    monkeypatch.setattr(sources, "GUIDE", str(tmp_path / "DATASETS.md"))


@pytest.mark.parametrize(
    ("dataset", "name", "expected"),
    [
        ("Birds", "images", f"{DOWNLOAD} (DATASETS.md, line 7)"),
        ("Birds", "b.txt", "copy `a.txt`, `b.txt` (DATASETS.md, line 9)"),
        ("Cats", "a.txt", "fetch `a.txt` elsewhere (DATASETS.md, line 13)"),
        ("Cats", "images", "DATASETS.md says how to get it"),
        ("Dogs", "a.txt", "DATASETS.md says how to get it"),
    ],
)
def test_the_step_that_gets_a_file(dataset, name, expected):
    assert how_to_get(dataset, name) == expected


@pytest.mark.parametrize("text", [None, "# Other\n", "## Birds\n\nnothing\n"])
def test_without_the_page_or_the_section(text, tmp_path):
    page = tmp_path / "DATASETS.md"
    page.unlink()
    if text:
        page.write_text(text)
    assert how_to_get("Birds", "images") == DOWNLOAD
