from datasets.prepare.remotes import of_step
from datasets.prepare.state import NAMES, loader_of
from datasets.sources import Step, step_for


def test_addresses_of_steps():
    drive = Step(1, "Download it.", (), "a.json", "https://drive.google.com/file/d/1-Ab_c/view")
    assert of_step(drive).url == "https://drive.usercontent.google.com/download?id=1-Ab_c&export=download&confirm=t"
    assert of_step(Step(1, "Download it.", (), "b.zip", "http://b.org/b.zip", "ab" * 16)) == (
        "b.zip",
        "http://b.org/b.zip",
        "ab" * 16,
        None,
    )
    assert of_step(Step(1, "Open <http://b.org/page>.", ())) is None


def test_every_file_of_every_data_set_has_a_step():
    """Those that take a browser or another data set are known; for all others the address is that of the file."""
    by_hand = set()
    for name in NAMES:
        for file in loader_of(name).files():
            step = step_for(loader_of(name).__name__, file)
            assert step, (name, file)
            remote = of_step(step)
            if remote is None:
                by_hand.add((name, file))
            elif "drive.usercontent" not in remote.url:
                assert remote.url.endswith(f"/{remote.name}")
    images = {("imagenet", "images/train"), ("imagenet", "images/val"), ("imagenet_sketch", "images")}
    assert by_hand == images | {(name, "classnames.txt") for name in NAMES[-4:]}
