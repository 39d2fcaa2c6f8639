"""Grids of tasks: each once, and behind what it needs."""

from harness.catalogue import METHODS
from harness.running import grid, launch


def test_a_source_is_trained_once_for_all_targets():
    """xd and dg share it; and what a task needs is in the grid, before it."""
    method = METHODS[1]
    tasks = grid.tasks_of(grid.series_of(protocol, method, seeds=[1, 2]) for protocol in ("xd", "dg"))
    folders = {task.folder(launch.Environment("data", "out")) for task in tasks}
    assert len(folders) == len(tasks) == 2 * (1 + 10 + 4)
    for number, task in enumerate(tasks):
        assert task.needs is None or task.needs in tasks[:number]
    assert sum(task.needs is None for task in tasks) == 2


def test_data_sets_whose_folder_is_missing(tmp_path):
    (tmp_path / "dtd").mkdir()
    environment = launch.Environment(str(tmp_path), "out")
    series = grid.series_of("base2new", METHODS[1], ["dtd", "caltech101", "shapes", "image_folder"])
    missing = {"caltech101": str(tmp_path / "caltech-101")}
    assert grid.missing_data(grid.tasks_of([series]), environment) == missing
    elsewhere = {METHODS[1].folder: ["DATASET.ROOT", "/data"]}
    assert grid.missing_data(grid.tasks_of([series], elsewhere), environment) == {}


def test_forcing_deletes_once(tmp_path):
    environment = launch.Environment("data", str(tmp_path), force=True)
    tasks = grid.tasks_of([grid.series_of("base2new", METHODS[1], ["shapes"], [1])])
    folder = tmp_path / "base2new/train_base/shapes/shots_16/CoOp/shapes/seed1"
    folder.mkdir(parents=True)
    assert not grid.clear(tasks, environment).force and not folder.exists()
