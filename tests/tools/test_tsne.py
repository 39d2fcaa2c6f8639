from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import exits
from tools import tsne
from tools.tsne import main, titles_of

# ---- runs


@pytest.fixture
def trained(make_cfg, make_trainer, tmp_path):
    """trained(name, KEY, value, ...) -> the folder of a finished run, as train.py leaves it."""

    def make(name, *options, train=True):
        folder = tmp_path / "runs" / name / "tiny" / f"seed{len(list(tmp_path.glob('runs/*/*/*')))}"
        options = ["OPTIM.MAX_EPOCH", 1, "OPTIM.WARMUP_EPOCH", 0, *options]
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(make_cfg(name, *options, output=folder).dump())
        if train:
            make_trainer(name, *options, output=folder).train()
        return str(folder)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """The panels that `main` hands to `plot`."""
    panels = []

    def keep(given, stem):
        panels.extend(given)
        return [f"{stem}.png"]

    monkeypatch.setattr(tsne, "plot", keep)
    return panels


def test_runs_become_panels(trained, drawn, tmp_path, capsys):
    runs = [trained("CoOp"), trained("E2MIM")]
    output = tmp_path / "new" / "figures"
    assert main([*runs, "--classes", "4", "--output", str(output)]) == 0
    assert str(output / "tsne.png") in capsys.readouterr().out
    coop, e2mim = drawn
    assert coop.title.startswith("CoOp\ntest accuracy ") and e2mim.title.startswith("E2MIM\n")
    assert list(coop.views) == ["text"] and list(e2mim.views) == ["hand-crafted", "learned"]
    for panel in drawn:
        assert panel.classnames == ["cat", "polar_bear", "dog", "very long class name"]
        assert np.bincount(panel.label).tolist() == [3, 3, 3, 3]
        for features in (panel.image, *panel.views.values()):
            np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4)
    # The encoders are frozen: both methods see the same images, and what CoOp learned is not CLIP's template
    np.testing.assert_allclose(coop.image, e2mim.image, atol=1e-5)
    assert not np.allclose(coop.views["text"], e2mim.views["hand-crafted"], atol=1e-3)


def test_validation_images_and_at_most_so_many_a_class(trained, drawn, tmp_path, monkeypatch):
    folder = trained("CoOp")
    assert main([folder, "--split", "val", "--output", str(tmp_path)]) == 0
    monkeypatch.setattr(tsne, "IMAGES_PER_CLASS", 1)
    assert main([folder, "--output", str(tmp_path)]) == 0
    assert [np.bincount(panel.label).tolist() for panel in drawn] == [[2] * 6, [1] * 6]


def test_zero_shot_clip_needs_no_checkpoint(trained, drawn, tmp_path):
    assert main([trained("ZeroshotCLIP", train=False), "--output", str(tmp_path)]) == 0
    assert drawn[0].title == "ZeroshotCLIP"


def test_runs_of_one_method_are_told_apart(make_cfg):
    names = {"a/ep50/seed1": "E2MIM", "a/ep50/seed2": "E2MIM", "b/ep50/seed1": "CoOp"}
    runs = [SimpleNamespace(folder=folder, cfg=make_cfg(name), record={}) for folder, name in names.items()]
    runs[0].record["accuracy"] = 81.25
    titles = titles_of(runs)
    assert titles == ["E2MIM (ep50/seed1)\ntest accuracy 81.2 %", "E2MIM (ep50/seed2)", "CoOp"]


# ---- errors


def error_of(capsys, argv, code):
    assert exits(main, argv) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_folder_without_a_run(tmp_path, capsys):
    assert "no config.yaml" in error_of(capsys, [str(tmp_path)], 2)


def test_run_without_a_checkpoint(trained, tmp_path, capsys):
    folder = trained("CoOp", train=False)
    error = error_of(capsys, [folder, "--output", str(tmp_path)], 1)
    assert f'No checkpoint below "{folder}/prompt_learner": train first' in error


def test_runs_on_other_classes(trained, capsys):
    runs = [trained("CoOp", "DATASET.SUBSAMPLE_CLASSES", half, train=False) for half in ("base", "new")]
    assert f"{runs[1]} is of other data than {runs[0]}" in error_of(capsys, runs, 2)


@pytest.mark.parametrize("n", ["0", "31"])
def test_number_of_classes(n, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["anywhere", "--classes", n])
    assert stop.value.code == 2
    assert "--classes must be 1 to 30" in capsys.readouterr().err
