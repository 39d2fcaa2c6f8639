"""DATASETS.md's numbered steps, written from `sources.yaml`."""

import textwrap

from dassl.utils import UserError

from ..sources import steps

WIDTH = 120  # characters, as the rest of the page


def with_steps(page):
    """The page's text with the steps that `sources.yaml` has: the first paragraph of each data set's section.

    Raises ValueError if a data set of `sources.yaml` has no section.
    """
    for dataset, entries in steps().items():
        heading = f"\n## {dataset}\n\n"
        before, found, after = page.partition(heading)
        if not found:
            raise UserError(f'DATASETS.md has no section "## {dataset}": add one, and let its first paragraph be "1. "')
        _, gap, rest = after.partition("\n\n")
        page = before + found + "\n".join(map(_item, entries)) + gap + rest
    return page


def _item(step):
    return textwrap.fill(
        step.text,
        WIDTH,
        initial_indent=f"{step.number}. ",
        subsequent_indent="   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
