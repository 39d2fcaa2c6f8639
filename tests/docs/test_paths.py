"""Whatever the pages name exists: files, folders and modules of the checkout, pages and headings to link to."""

import json
import re

import pytest

from tests.conftest import REPOSITORY

NAMES = ("README.md", "CONTRIBUTING.md", "DATASETS.md", "tests/README.md", "docs/tutorial.ipynb")
PAGES = [*(REPOSITORY / name for name in NAMES), *sorted(REPOSITORY.glob("docs/*.md"))]
ELSEWHERE = {
    "configs/datasets/birds.yaml",  # DATASETS.md: a file that the reader writes
    "my_method.py",  # docs/your_own_method.md: in the reader's folder
    "test_my_method.py",
    "datasets.py",
    "trainers/prompt_methods/",  # in a fork
    "trainers/prompt_methods/__init__.py",
    "trainers.prompt_methods",
    "dassl/data/datasets/dg/__init__.py",
    "dassl/data/transforms/randaugment.py",  # in the original Dassl
    "dassl/optim/lr_scheduler.py",
    "dassl/utils/torchtools.py",
    "trainers/config.py",  # in MMRL's public code
    "trainers/constants.py",  # in CoPrompt's
    "parallel_runner.py",  # in DePT's
}
MADE = {"data", "output", "build"}  # by whoever runs something
FOLDERS = sorted({path.name for path in REPOSITORY.glob("[!.]*/")} - MADE)
_START = rf"(?<![\w./<>~-])(?:{'|'.join(FOLDERS)})"
PATH = re.compile(rf"{_START}/[\w./<>*@-]*")
MODULE = re.compile(rf"{_START}\.[a-z_]\w*(?![\w.]*/)")
FILE = re.compile(r"`(\w+\.py)\b")  # a file whose folder is not named
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page):
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":  # without what the cells have shown
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def exists(path):
    """Of a path below the checkout, in which * and <word> stand for any name."""
    path = path.rstrip(".,")
    return path in ELSEWHERE or any(REPOSITORY.glob(re.sub(r"<\w[\w ]*>", "*", path)))


def is_module(name):
    path = name.replace(".", "/")
    return name in ELSEWHERE or exists(f"{path}.py") or exists(path)


def is_file(name):
    return exists(name) or any(exists(f"{folder}/**/{name}") for folder in FOLDERS)


def anchors(page):
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_what_a_page_names_is_there(page):
    text = text_of(page)
    for names, found in ((PATH, exists), (MODULE, is_module), (FILE, is_file)):
        missing = sorted({name for name in names.findall(text) if not found(name)})
        assert not missing, f"{page.name} names what is not there: {', '.join(missing)}"


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(text_of(page)):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_it_would_notice():
    assert PATH.findall("`trainers/gone.py`, [x](docs/y.md), ../CoOp/scripts/z.sh") == ["trainers/gone.py", "docs/y.md"]
    assert exists("trainers/sep.py") and exists("configs/trainers/<Trainer>/*.yaml") and not exists("trainers/gone.py")
    assert is_module("datasets.shapes") and not is_module("trainers.gone")
    assert is_file("train.py") and is_file("sep.py") and not is_file("gone.py")
