"""What every command begins with: packages that are missing, file names and output in other encodings."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from harness.errors import bytes_of_names, user_error
from tests.conftest import REPOSITORY
from tests.harness.runs import finish

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


@pytest.mark.parametrize("kind", UNRELATED)
def test_an_unrelated_clip(tmp_path, kind):
    for name, text in UNRELATED[kind].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in COMMANDS if kind == "another package" else ["train.py"]:
        done = call([command], "--help", PYTHONPATH=str(tmp_path))
        said = (
            b"error: The package clip is not OpenAI's CLIP, but an unrelated one: pip uninstall clip, pip install clip-"
        )
        assert done.returncode == 1 and done.stderr.startswith(said) and done.stderr.count(b"\n") == 1, command


@pytest.mark.parametrize("module, package", [("clip", "clip-anytorch"), ("yacs", "yacs"), ("PIL", "pillow")])
def test_a_package_that_is_missing(tmp_path, module, package):
    done = call(["train.py"], "--help", **hide(tmp_path, module))
    sentence = f"error: The package {package} is not installed (no module {module}): pip install {package}.\n"
    assert (done.returncode, done.stderr.decode()) == (1, sentence)


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


@pytest.mark.parametrize("command", [*COMMANDS, "parse_test_res.py", "harness"])
def test_without_the_folder_of_the_command_on_the_path(tmp_path, command):
    words = ["sep", "base2new_train"] if command == "harness" else []
    done = call(["-P", REPOSITORY / command], *words, "--help", cwd=tmp_path, PYTHONSAFEPATH="1")
    assert done.returncode == 0 and b"usage" in done.stdout, done.stderr


OTHER = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
]
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
        text = (tmp_path / f"{i}/metrics.json").read_text(encoding="utf-8")
        records.append([line for line in text.splitlines() if "café" in line or "fingerprint" in line])
        done = call(["tools/predict.py"], "--model-dir", tmp_path / f"{i}", tmp_path / "image_folder/test", **environ)
        encoding = {0: "utf-8", 3: "latin-1"}.get(i, "ascii")
        assert done.returncode == 0 and "żółw".encode(encoding, "backslashreplace") in done.stdout, done.stderr
    assert records[0] and all(record == records[0] for record in records)


@pytest.mark.parametrize("environ", OTHER)
def test_a_report_is_printed_in_any_encoding(tmp_path, environ):
    finish(tmp_path / "output", "base", 1, 80.0)
    done = call(["tools/report.py"], tmp_path / "output", **environ)
    assert done.returncode == 0 and b"80.00" in done.stdout and done.stderr == b""


def test_names_of_files_are_printed_as_their_bytes():
    assert bytes_of_names(UnicodeEncodeError("ascii", "a\udcff\u0142", 1, 3, "")) == (b"\xff", 2)
    assert "\udcffé\u0142".encode("latin-1", "bytes_of_names") == b"\xff\xe9\\u0142"
