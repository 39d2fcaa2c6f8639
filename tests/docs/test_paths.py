"""Whatever the pages name exists: files and folders of the checkout, modules to import, pages and headings to link to."""

import json
import re

import pytest

from tests.conftest import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "DATASETS.md", "CHANGELOG.md", "tests/README.md")),
    *sorted(REPOSITORY.glob("docs/*.md")),
    REPOSITORY / "docs/tutorial.ipynb",
]
# What runs leave is made later; examples and files of other people's code are named in the second set
MADE = {"data", "output", "build"}
ELSEWHERE = {
    "configs/datasets/birds.yaml",  # DATASETS.md: a file that the reader writes
    "trainers/prompt_methods/",  # in a fork
    "trainers/prompt_methods/__init__.py",
    "trainers.prompt_methods",
    "dassl/data/datasets/dg/__init__.py",  # in the original Dassl
    "trainers/config.py",  # in MMRL's public code
    "trainers/constants.py",  # in CoPrompt's
}
FOLDERS = "|".join(sorted({path.name for path in REPOSITORY.glob("[!.]*/")} - MADE))
PATH = re.compile(rf"(?<![\w./<>~-])(?:{FOLDERS})/[\w./<>*@-]*")
MODULE = re.compile(rf"(?<![\w./<>-])(?:{FOLDERS})\.[a-z_]\w*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page):
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":  # without what the cells have shown
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def exists(path):
    """Of a path below the checkout, in which * and <word> stand for any name."""
    pattern = re.sub(r"<\w[\w ]*>", "*", path).rstrip(".,")
    return path in ELSEWHERE or any(REPOSITORY.glob(pattern))


def is_module(name):
    return name in ELSEWHERE or exists(name.replace(".", "/")) or exists(name.replace(".", "/") + ".py")


def anchors(page):
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    text = text_of(page)
    missing = [path for path in PATH.findall(text) if not exists(path)]
    assert not missing + [name for name in MODULE.findall(text) if not is_module(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(text_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_it_would_notice():
    assert exists("trainers/sep.py") and exists("configs/trainers/<Trainer>/*.yaml") and is_module("datasets.shapes")
    assert not exists("trainers/gone.py") and not is_module("trainers.gone")
    assert PATH.findall("`trainers/gone.py`, [x](docs/y.md)") == ["trainers/gone.py", "docs/y.md"]
