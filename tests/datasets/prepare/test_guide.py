"""DATASETS.md and sources.yaml say the same."""

import re

import pytest

from datasets import sources
from datasets.prepare.guide import with_steps
from datasets.prepare.state import NAMES, loader_of

with open(sources.GUIDE, encoding="utf-8") as file:
    PAGE = file.read()


def test_a_data_set_without_a_section_is_named():
    with pytest.raises(ValueError, match='DATASETS.md has no section "## EuroSAT"'):
        with_steps(PAGE.replace("## EuroSAT\n", "## Europe\n"))


def test_all_public_data_sets_have_steps_in_order():
    assert list(sources.steps()) == [loader_of(name).__name__ for name in NAMES]
    for dataset, steps in sources.steps().items():
        assert [step.number for step in steps] == list(range(1, len(steps) + 1))
        for step in steps:
            assert PAGE.splitlines()[sources.line_of(dataset, step) - 1].startswith(f"{step.number}. ")
            assert bool(step.file) == bool(step.url) and "{" not in step.text
            assert not step.file or (f"`{step.file}`" in step.text and f"<{step.url}>" in step.text)
            assert not step.md5 or re.fullmatch("[0-9a-f]{32}", step.md5)
            for name in step.gets:
                assert f"`{name}`" in step.text or f"`{name}/`" in step.text


def test_addresses_stand_in_the_yaml_file_alone():
    steps = " ".join(" ".join(step.text for step in steps) for steps in sources.steps().values())
    sections = PAGE[PAGE.index("\n## ImageNet\n") : PAGE.index("\n## Shapes\n")]
    for address in re.findall(r"https?://[^>\s]+", sections):
        assert address in steps
