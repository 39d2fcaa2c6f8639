"""Which files are read, and that the others are told apart: unreadable, damaged, and somebody else's."""

import contextlib
import errno
import pickle
import random
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import raiser
from trainers.errors import MissingFile, UserError
from trainers.files import torch_file
from trainers.files.torch_file import DamagedFile

CONTENT = {"weights": {"a": torch.arange(12.0).view(3, 4), "b": torch.arange(3)}, "n": 3, "more": [None, 0.5, "x"]}


def load(path, **options):
    return torch_file.load(str(path), "File", "use another one", **options)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    torch.save(CONTENT, path)
    return path


def test_what_was_written_is_read(path):
    assert same(CONTENT, load(path))


# ---- damaged -----------------------------------------------------------------------------------------------


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_flipped_bits_are_noticed_or_harmless(path, where, mask):
    good = path.read_bytes()
    changed = bytearray(good)
    changed[int(where * len(good))] ^= mask
    other = path.with_name("changed")
    other.write_bytes(changed)
    try:
        assert same(CONTENT, load(other))
    except DamagedFile:
        pass


def test_every_bit_of_the_numbers_counts(path):
    good = path.read_bytes()
    at = good.index(torch.tensor(11.0).numpy().tobytes())
    path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    assert torch.load(path, weights_only=True)["weights"]["a"][2, 3] != 11  # PyTorch does not notice
    with pytest.raises(DamagedFile):
        load(path)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.floats(0, 1, exclude_max=True))
def test_cut_short(path, length):
    good = path.read_bytes()
    cut = path.with_name("cut")
    cut.write_bytes(good[: int(length * len(good))])
    with pytest.raises(DamagedFile, match=r'File ".*cut" is damaged .*: use another one\.$'):
        load(cut)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK", b"\0" * 5000])
def test_no_file_of_torch(path, content):
    path.write_bytes(content)
    for any_format in (False, True):
        with pytest.raises(DamagedFile):
            load(path, legacy=any_format, torchscript=any_format)


# ---- not to be read now ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, reason",
    [
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_unreadable_is_not_damaged(path, monkeypatch, error, reason):
    monkeypatch.setattr("builtins.open", raiser(error))
    with pytest.raises(UserError, match=rf'File ".*file" cannot be read \({reason}\): mend that, or ') as raised:
        load(path)
    assert not isinstance(raised.value, (DamagedFile, MissingFile))


def test_memory_that_verifying_asks_for_in_vain(path, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "open", raiser(MemoryError()))
    with pytest.raises(UserError, match="cannot be read .not enough memory"):
        load(path)


def test_memory_that_pytorch_asks_for_in_vain(path, monkeypatch):
    monkeypatch.setattr(
        torch, "from_numpy", raiser(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    )
    with pytest.raises(UserError, match="cannot be read .not enough memory"):
        load(path)


def test_a_folder_and_nothing(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)
    with pytest.raises(MissingFile, match="does not exist: correct the path"):
        load(tmp_path / "none")


def test_a_pytorch_without_weights_only(path, monkeypatch):
    """1.9 to 1.12 have none: nothing is read by torch.load."""
    monkeypatch.setattr(torch, "load", raiser(TypeError("'weights_only' is an invalid keyword argument")))
    assert same(CONTENT, load(path))


# ---- somebody else's ---------------------------------------------------------------------------------------


def legacy(path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)


def torchscript(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), path)


def archive(path):
    with zipfile.ZipFile(path, "w") as f:
        f.writestr("thesis.txt", "all of it")


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
@pytest.mark.parametrize(
    "write, held",
    [
        (lambda path: torch.save({"model": torch.nn.Linear(2, 1)}, path), "holds the Python object torch.nn.*Linear"),
        (
            lambda path: torch.save({"evil": random.Random()}, path),
            "holds the Python object random.Random, and",
        ),
        (legacy, "is a bare pickle or of PyTorch before 1.6"),
        (torchscript, "is a TorchScript archive"),
        (archive, "is an archive that torch.save did not write"),
    ],
)
def test_whole_but_of_another_kind(path, write, held):
    write(path)
    with pytest.raises(UserError, match=rf'File ".*" {held}.*: use another one\.$') as raised:
        load(path)
    assert not isinstance(raised.value, DamagedFile)
    assert not {"delete", "remove"} & set(str(raised.value).split())


# ---- other formats -----------------------------------------------------------------------------------------


class Scripted(torch.nn.Module):
    """A module with what a state dict holds, and what it does not."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 2).half())
        self.register_buffer("mask", torch.ones(3))
        self.constant, self.numbers = torch.ones(3), [1, 2]

    def forward(self, x):
        return self.layers(self.norm(self.conv(x)).mean((2, 3))) + self.constant.sum() + self.numbers[0]


@pytest.mark.filterwarnings("ignore")
def test_the_state_dict_of_torchscript_runs_nothing(path, monkeypatch):
    torch.jit.script(Scripted()).save(path)
    expected = torch.jit.load(path).state_dict()
    monkeypatch.setattr(torch.jit, "load", raiser(AssertionError("what is in there may run")))
    assert same(expected, load(path, torchscript=True)) and len(expected) == 11


@pytest.mark.filterwarnings("ignore")
def test_torchscript(path):
    torchscript(path)
    assert load(path, torchscript=True)["weight"].shape == (1, 2)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFile):
        load(path, torchscript=True)


def test_pytorch_before_1_6(path):
    legacy(path)
    assert same(CONTENT, load(path, legacy=True))
    pickled = path.with_name("pickled")
    pickled.write_bytes(pickle.dumps(CONTENT["n"]))
    with pytest.raises(DamagedFile):  # ends before it would say what it is
        load(pickled, legacy=True)
    pickled.write_bytes(3 * pickle.dumps(CONTENT["n"]))
    with pytest.raises(UserError, match="is a pickle that torch.save did not write: use another one"):
        load(pickled, legacy=True)


def test_pytorch_before_1_6_cut_short(path):
    legacy(path)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedFile):
            load(path, legacy=True)


@pytest.mark.filterwarnings("ignore")  # of escape sequences
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_pytorch_before_1_6_changed(path, where, mask):
    """It has no checksums; whatever is read or not, an error is one for users."""
    legacy(path)
    changed = bytearray(path.read_bytes())
    changed[int(where * len(changed))] ^= mask
    path.write_bytes(changed)
    with contextlib.suppress(UserError):
        load(path, legacy=True)
