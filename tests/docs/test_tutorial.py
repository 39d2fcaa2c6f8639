"""docs/tutorial.ipynb: what it shows is kept in it, and it still runs.

    python -m tests.docs.test_tutorial

runs it as it is, minutes long, and keeps what it shows.
"""

import copy
import os
import re

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from datasets.shapes.drawn import COMPARED
from datasets.shapes.family import Shapes
from datasets.shapes.world import CLASSNAMES, picture
from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs/tutorial.ipynb"


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook):
    """Execute all cells from an empty kernel, in place; raises what a cell raises."""
    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    about, place = copy.deepcopy(notebook.metadata), {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(
        notebook, kernel_name="python3", timeout=None, startup_timeout=600, record_timing=False, resources=place
    ).execute()
    notebook.metadata = about  # without the machine's version of Python


@pytest.fixture
def kept():
    return read()


@pytest.fixture
def shapes(tmp_path):
    """A data root with Shapes, whose classes have one picture each, so that few have to be drawn.

    Only those that the loader compares with fresh ones are left to it.
    """
    places = [(split, name, i) for split, n in Shapes.splits.items() for name in CLASSNAMES for i in range(n)]
    for name in CLASSNAMES:
        folder = tmp_path / "data/shapes/images" / name.replace(" ", "_")
        folder.mkdir(parents=True)
        Image.fromarray(picture("test", name, 0)).save(folder / "one.png")
    for split, name, i in set(places) - set(places[:: len(places) // COMPARED]):
        folder = tmp_path / "data/shapes/images" / name.replace(" ", "_")
        os.link(folder / "one.png", folder / f"{split}_{i:02d}.png")
    return tmp_path / "data"


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What sort of outputs a cell has: text is one, however it was cut; progress, shown where it is slow, is none."""
    shown = [output for output in cell.outputs if output.get("name") != "stderr"]
    found = [output.get("name") or f"{output.output_type} {' '.join(sorted(output.data))}" for output in shown]
    return [kind for i, kind in enumerate(found) if kind != "stdout" or kind not in found[:i]]


def test_outputs_are_kept(kept):
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert [cell.execution_count for cell in code(kept)] == list(range(1, 1 + len(code(kept))))  # once, in order
    assert sum("image/png" in kind for cell in code(kept) for kind in kinds(cell)) >= 3
    for cell in code(kept):
        assert not {"stderr", "error"} & {output.get("name", output.output_type) for output in cell.outputs}
        assert "execution" not in cell.metadata  # times


def test_nothing_of_the_machine_is_in_it():
    text = re.sub(r'"image/png": "[^"]*"', "", NOTEBOOK.read_text(encoding="utf-8"))
    assert not re.search(r"(?<![\w.}$\"])/(home|root|tmp|work|usr|Users)/", text) and str(REPOSITORY) not in text
    assert not re.search(r"Elapsed|\d+ ?(seconds|ms|s/it|it/s)\b", text)


@pytest.mark.long
def test_it_runs(kept, shapes, tmp_path, monkeypatch):
    """With one picture a class and one epoch, every cell gives what it gave, in kind."""
    output = tmp_path / "output"
    for key, value in {"DATA": shapes, "OUTPUT": output, "SHOTS": 1, "EPOCHS": 1, "OMP_NUM_THREADS": 1}.items():
        monkeypatch.setenv(key, str(value))
    again = read()
    run(again)
    assert [kinds(cell) for cell in code(again)] == [kinds(cell) for cell in code(kept)]
    assert output.is_dir()


if __name__ == "__main__":
    notebook = read()
    try:
        run(notebook)
    finally:  # where a cell fails, its error is kept too
        nbformat.write(notebook, NOTEBOOK)
