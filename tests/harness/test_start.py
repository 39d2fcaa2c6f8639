"""What every command begins with: packages that are missing, file names and output in other encodings."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from harness.errors import bytes_of_names, user_error
from harness.start import wait_briefly
from tests.conftest import REPOSITORY
from tests.harness.runs import finish
from tests.trainers.methods import often

NEEDS_CLIP = ["bench", "export", "import_checkpoint", "interpret", "predict", "pretrain_shapes", "tsne"]
COMMANDS = [f"tools/{name}.py" for name in NEEDS_CLIP] + ["train.py"]
UNRELATED = {  # clip as others publish it -> its files
    "another package": {"clip/__init__.py": "def clip(x): return x"},
    "with a module of that name": {"clip/__init__.py": "", "clip/model.py": "", "clip/clip.py": "tokenize = None"},
    "for Python 2": {"clip.py": "print 'x'"},
    "that fails": {"clip/__init__.py": "import no_such_module"},
}
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def call(command, *words, cwd=REPOSITORY, **environ):
    environ = {**os.environ, **environ}
    return subprocess.run([sys.executable, *command, *map(str, words)], cwd=cwd, capture_output=True, env=environ)


def hide(folder, module):
    (folder / "sitecustomize.py").write_text(HIDE.format(module))
    return {"PYTHONPATH": str(folder)}


def refused(command, **environ):
    """The sentence that a command ends with."""
    done = call([command], "--help", **environ)
    assert done.returncode == 1 and done.stdout == b"", command
    return done.stderr.decode()


NO_CLIP = "error: The package clip-anytorch is not installed (no module clip): pip install clip-anytorch.\n"


@pytest.mark.parametrize("kind", often(UNRELATED, ["another package"]))
def test_an_unrelated_clip(tmp_path, kind):
    for name, text in UNRELATED[kind].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    place = tmp_path / next(iter(UNRELATED[kind])).removesuffix("/__init__.py")
    mend = "pip uninstall clip, then pip install clip-anytorch"
    said = f"error: The package clip in {place} is not OpenAI's CLIP: {mend}.\n"
    assert refused("train.py", PYTHONPATH=str(tmp_path)) == said


MISSING = [("yacs", "yacs"), ("PIL", "pillow"), ("regex", "regex")]


@pytest.mark.parametrize("module, package", often(MISSING, [("PIL", "pillow")]))
def test_a_package_that_is_missing(tmp_path, module, package):
    sentence = f"error: The package {package} is not installed (no module {module}): pip install {package}.\n"
    assert refused("train.py", **hide(tmp_path, module)) == sentence


@pytest.mark.long
def test_every_command_without_clip(tmp_path):
    for command in COMMANDS:
        assert refused(command, **hide(tmp_path, "clip")) == NO_CLIP
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "clip.py").write_text("")
    for command in COMMANDS:
        assert f"clip in {tmp_path}/clip.py is not OpenAI's" in refused(command, PYTHONPATH=str(tmp_path))


def test_without_clip_a_file_in_a_folder_of_that_name_is_any_file(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert user_error(FileNotFoundError(2, "no such file", "/data/clip/train.py")) is None


def test_one_that_is_missing_when_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    sys.modules.pop("torch.utils.tensorboard", None)
    with pytest.raises(ImportError) as error:
        import torch.utils.tensorboard  # noqa: F401
    del sys.modules["tensorboard"]
    assert "The package tensorboard is not installed" in user_error(error.value)


def test_a_bug_in_an_import_stays_one():
    for code in (
        "from trainers import no_such_name",
        "import trainers.no_such_module",
        "from clip import no_such_name",
    ):
        with pytest.raises(ImportError) as error:
            exec(code)
        assert user_error(error.value) is None


OTHER = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252:strict"},
    {"PYTHONIOENCODING": "utf-16-le"},
]


WITHOUT_TORCH = ["tools/report.py", "harness"]


@pytest.mark.parametrize("command", often([*WITHOUT_TORCH, "train.py"], WITHOUT_TORCH))  # all: tools/test_commands.py
def test_help_without_the_folder_of_the_command_on_the_path(tmp_path, command):
    words = ["sep", "base2new_train"] if command == "harness" else []
    flags = ["-P", "-X", "utf8=0"] if sys.version_info >= (3, 11) else []
    done = call([*flags, REPOSITORY / command], *words, "--help", cwd=tmp_path, PYTHONSAFEPATH="1", **OTHER[0])
    assert done.returncode == 0 and b"usage" in done.stdout, done.stderr


TRAINED = "--seed 1 --trainer ZeroshotCLIP --dataset-config-file configs/datasets/image_folder.yaml "
TRAINED += "--config-file configs/trainers/ZeroshotCLIP/shapes.yaml DATASET.NUM_SHOTS 1"


@pytest.mark.long
def test_other_encodings_change_no_name(tmp_path):
    """Of classes, files and samples; what is printed is what the output's encoding has."""
    names = ["café", "zebra", "żółw"]
    for i, name in enumerate(names):
        for split in ("train", "test"):
            (tmp_path / "image_folder" / split / name).mkdir(parents=True)
            Image.new("RGB", (64, 64), (80 * i, 9, 9)).save(tmp_path / "image_folder" / split / name / "ł.png")
    records = []
    for i, environ in enumerate([{}, *OTHER]):
        words = [*TRAINED.split(), "OUTPUT_DIR", tmp_path / f"{i}", "DATASET.ROOT", tmp_path]
        done = call(["train.py"], *words, **environ)
        assert done.returncode == 0 and b"replaced" not in done.stdout, done.stderr
        record = json.loads((tmp_path / f"{i}/metrics.json").read_text(encoding="utf-8"))
        records.append((record["classnames"], record["data"]))
        done = call(["tools/predict.py"], "--model-dir", tmp_path / f"{i}", tmp_path / "image_folder/test", **environ)
        encoding = environ.get("PYTHONIOENCODING", "ascii" if environ else "utf-8").partition(":")[0]
        assert done.returncode == 0 and "żółw".encode(encoding, "backslashreplace") in done.stdout, done.stderr
    assert records[0][0] == names and all(record == records[0] for record in records)


@pytest.mark.parametrize("environ", OTHER)
def test_a_report_is_printed_in_any_encoding(tmp_path, environ):
    finish(tmp_path / "output", "base", 1, 80.0)
    done = call(["tools/report.py"], tmp_path / "output", **environ)
    assert done.returncode == 0 and b"80.00" in done.stdout.replace(b"\0", b"") and done.stderr == b""


def test_names_of_files_are_printed_as_their_bytes():
    assert bytes_of_names(UnicodeEncodeError("ascii", "a\udcff\u0142", 1, 3, "")) == (b"\xff", 2)
    assert "\u0142\udcff".encode("ascii", "bytes_of_names") == b"\\u0142\xff"
    assert "\udcff".encode("utf-16-le", "bytes_of_names").decode("utf-16-le") == "\\udcff"
    assert "\udcffé\u0142".encode("latin-1", "bytes_of_names") == b"\xff\xe9\\u0142"


@pytest.mark.parametrize("said", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_the_users_to_say(said):
    environ = {"OMP_NUM_THREADS": "4", "PATH": "/bin"}
    wait_briefly(environ)
    assert environ == {"OMP_NUM_THREADS": "4", "PATH": "/bin", "GOMP_SPINCOUNT": "1000"}
    environ = {said: "x"}
    wait_briefly(environ)
    assert environ == {said: "x"}
