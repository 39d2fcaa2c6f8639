import os

import pytest
import torch

from dassl.utils import save_checkpoint, write_json, write_whole
from tests.conftest import no_larger_files, raiser


def text(file):
    file.write("é")


@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / "new" / "file.txt"
    write_whole(str(path), text)
    assert path.read_text(encoding="utf-8") == "é"

    def interrupted(file):
        file.write("half")
        raise error

    with pytest.raises(error):
        write_whole(str(path), interrupted)
    assert path.read_text(encoding="utf-8") == "é" and os.listdir(path.parent) == ["file.txt"]


def test_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_whole("file.bin", lambda file: file.write(b"\xff"), "wb", sync=True)
    assert (tmp_path / "file.bin").read_bytes() == b"\xff" and os.listdir(tmp_path) == ["file.bin"]


WRITERS = {
    "text": lambda folder: write_whole(f"{folder}/a", lambda file: file.write("x" * 50_000)),
    "a checkpoint": lambda folder: save_checkpoint(
        {"state_dict": {"w": torch.zeros(20_000)}, "epoch": 1}, str(folder), model_name="a"
    ),
    "JSON": lambda folder: write_json(["x" * 50_000], f"{folder}/a"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk(writer, tmp_path):
    (tmp_path / "a").write_text("before")
    said = rf"^{tmp_path}/a cannot be written \(File too large\): make room"
    with no_larger_files(10_000), pytest.raises(ValueError, match=said) as error:
        WRITERS[writer](tmp_path)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "before"


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match=r"a/b cannot be written \((Not a directory|File exists)\)"):
        write_whole(f"{tmp_path}/a/b", text)
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"c cannot be written \(Is a directory\)"):
        write_whole(f"{tmp_path}/c", text)
    assert sorted(os.listdir(tmp_path)) == ["a", "c"]


def test_an_error_that_is_not_the_disks_stays_as_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        write_whole(f"{tmp_path}/a", raiser(RuntimeError("a bug")))
