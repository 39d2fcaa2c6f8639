import pytest

from dassl.utils import write_whole
from datasets.files import keep
from tests.conftest import raiser


def kept(path, text="x"):
    write_whole(path, lambda file: file.write(text))


def test_kept_in_the_output_folder_otherwise(tmp_path, capsys):
    (tmp_path / "data").write_text("not a folder")
    keep(kept, "a/b.txt", str(tmp_path / "data"), str(tmp_path / "out"), "the list")
    assert (tmp_path / "out/a/b.txt").read_text() == "x"
    assert capsys.readouterr().out == (
        f"Cannot write {tmp_path}/data/a/b.txt (Not a directory); keeping the list in {tmp_path}/out/a/b.txt\n"
    )


def test_another_error_is_not_taken_for_the_disks(tmp_path):
    with pytest.raises(ValueError, match="a bug"):
        keep(raiser(ValueError("a bug")), "b.txt", str(tmp_path), str(tmp_path / "out"), "the list")
