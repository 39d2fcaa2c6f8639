from hypothesis import given, settings
from hypothesis import strategies as st

from harness import layout
from harness.layout import PARTS, Place, place_of
from tests.harness.runs import run_dir

name = st.text("aZ9._-@+ \té漢", min_size=1).filter(lambda text: text not in (".", ".."))


@given(st.sampled_from(sorted(PARTS)), name, st.integers(-1, 99), name, name, st.integers(0, 999))
@settings(max_examples=50)
def test_a_folder_and_back(folder, dataset, shots, trainer, cfg, seed):
    place = Place(folder, dataset, str(shots), trainer, cfg, seed)
    assert place_of(place.below("/some/output")) == ("/some/output", place)


def test_forks_leave_base2new_out():
    assert place_of("/out/train_base/dtd/shots_16/CoOp/vit/seed1")[1].folder == "base2new/train_base"
    assert place_of("/out/elsewhere/dtd/shots_16/CoOp/vit/seed1") is None


def test_a_run_that_was_moved_is_the_same(tmp_path):
    one, other = (run_dir(tmp_path / output, "source", 1) for output in ("old", "new"))
    assert layout.same_run(one, other) and not layout.same_run(one, run_dir(tmp_path / "old", "source", 2))
    assert layout.same_run(tmp_path, f"{tmp_path}/x/..") and not layout.same_run(tmp_path, tmp_path / "x")


def test_last_epoch(tmp_path):
    assert layout.last_epoch(tmp_path) == 0
    folder = run_dir(tmp_path, "base", 1) / "prompt_learner"
    folder.mkdir(parents=True)
    for file in ("model.pth.tar-9", "model.pth.tar-10", "model.pth.tar-11.tmp-3", "model-best.pth.tar", "checkpoint"):
        (folder / file).touch()
    assert layout.last_epoch(folder.parent) == 10


def test_any_checkpoint_makes_a_folder_somebodys(tmp_path):
    run = tmp_path / "[1] a *run"
    (run / "prompt_learner").mkdir(parents=True)
    (run / "prompt_learner/checkpoint").touch()
    assert not layout.has_checkpoints(run) and not layout.has_checkpoints(tmp_path / "nothing")
    (run / "model").mkdir()
    (run / "model/model.pth.tar-3.damaged").touch()
    assert layout.has_checkpoints(run)
