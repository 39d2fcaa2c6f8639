"""Pickles as torch.save writes them, with live objects in them and with what an attacker would put there."""

import collections
import functools
import io
import operator
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zoo.theirs import live_training
from trainers.errors import UserError
from trainers.files import plain_pickle, torch_file
from trainers.files.plain_pickle import Refused, StandIn
from zoo.convert import HARMLESS


def no_tensors(*_):
    raise AssertionError("no tensor is in it")


def read(content, inert=HARMLESS):
    return plain_pickle.read(io.BytesIO(content), no_tensors, inert)


WORDS = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | WORDS, inner)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
        | st.sets(WORDS)
    ),
    max_leaves=20,
)


@given(value=PLAIN, protocol=st.sampled_from([2, 4]))
def test_plain_data(value, protocol):
    found = read(pickle.dumps(value, protocol))
    assert found == value and type(found) is type(value)


def test_numbers_of_numpy_are_numbers():
    content = pickle.dumps([np.float64(0.5), np.float32(0.25), np.int64(3), np.bool_(True)], 2)
    found = read(content)
    assert found == [0.5, 0.25, 3, True] and [type(v) for v in found] == [float, float, int, bool]
    assert read(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")) == found  # numpy 1


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "optimizer, scheduler",
    [("sgd", "cosine"), ("adam", "single_step"), ("adamw", "multi_step"), ("rmsprop", "cosine")],
)
def test_live_objects_are_stood_in_for(tmp_path, legacy, optimizer, scheduler):
    path = str(tmp_path / "file")
    training = live_training({"ctx": torch.ones(2, 3)}, optimizer, scheduler)
    torch.save({**training, "epoch": 2}, path, _use_new_zipfile_serialization=not legacy)
    found = torch_file.load(path, "File", "use another one", legacy=True, inert=HARMLESS)
    successor = found["scheduler"]["successor"]
    assert isinstance(successor, StandIn) and successor.name.startswith("torch.optim.lr_scheduler.")
    assert isinstance(successor.state["optimizer"], StandIn)
    assert set(found["optimizer"]) == {"state", "param_groups"} and found["epoch"] == 2
    with pytest.raises(UserError, match="holds the Python object torch.optim.*, and only plain data and tensors"):
        torch_file.load(path, "File", "use another one", legacy=True)


def test_tensors_of_every_kind(tmp_path):
    kinds = [torch.arange(6).to(dtype) for dtype in plain_pickle.NUMBERS.values()]
    saved = {
        "kinds": kinds,
        "view": torch.arange(12.0).view(3, 4).t()[1:],
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(1.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "device": torch.device("cuda", 1),  # only named: there is none here
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
    }
    for new in (True, False):
        torch.save(saved, tmp_path / "file", _use_new_zipfile_serialization=new)
        found = torch_file.load(str(tmp_path / "file"), "File", "use another one", legacy=True)
        for one, other in zip(kinds, found["kinds"]):
            assert one.dtype == other.dtype and torch.equal(one, other)
        for name in ("view", "empty", "number", "parameter"):
            assert torch.equal(saved[name], found[name]), name
        assert [found[name] for name in ("device", "size", "dtype")] == [saved["device"], (2, 3), torch.float16]


def test_tensors_saved_on_a_gpu(tmp_path):
    """The device stands in the pickle, of the same length here so that its size is right."""
    torch.save({"ctx": torch.ones(2)}, tmp_path / "file", _use_new_zipfile_serialization=False)
    content = (tmp_path / "file").read_bytes()
    was, now = (b"X" + struct.pack("<I", len(name)) + name for name in (b"cpu", b"cuda:0"))
    assert was in content
    (tmp_path / "file").write_bytes(content.replace(was, now))
    found = torch_file.load(str(tmp_path / "file"), "File", "use another one", legacy=True)
    assert torch.equal(found["ctx"], torch.ones(2))


# ---- attacks ------------------------------------------------------------------------------------------------


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments, state=None):
        self.what = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.what


def attacks(trace):
    """Objects each of which would write the file `trace`, or call something of Python, when it is unpickled."""
    touch = f"touch {trace}"
    return {
        "os.system": Calls(os.system, touch),
        "eval": Calls(eval, f"open({trace!r}, 'w')"),
        "exec": Calls(exec, f"open({trace!r}, 'w')"),
        "open": Calls(open, trace, "w"),
        "getattr": Calls(getattr, "x", "upper"),
        "__import__": Calls(__import__, "os"),
        "functools.partial": Calls(functools.partial, os.system, touch),
        "operator.attrgetter": Calls(operator.attrgetter, "system"),
        "torch.hub.load": Calls(torch.hub.load, "nobody/nothing", "model"),
        "torch.load": Calls(torch.load, trace),
        "torch.jit.load": Calls(torch.jit.load, trace),
        "a state": Calls(collections.OrderedDict, state={"x": Calls(os.system, touch)}),
        "a defaultdict of": Calls(collections.defaultdict, os.system),
        "a plain class": Calls(object),
        "a module": torch.nn.Linear(1, 1),
    }


PLACES = ["state_dict", "optimizer", "scheduler", "successor", "param_groups", "key"]


@pytest.mark.parametrize(
    "attack, where, legacy",
    [(attack, "successor", False) for attack in attacks("x")]
    + [("os.system", where, legacy) for where in PLACES for legacy in (False, True)],
)
def test_nothing_runs(tmp_path, attack, where, legacy):
    trace, path = str(tmp_path / "trace"), str(tmp_path / "file")
    evil = attacks(trace)[attack]
    state = {**live_training({"ctx": torch.ones(2, 3)}), "epoch": 2}
    if where == "successor":  # in the state of a stand-in
        state["scheduler"]["successor"].T_max = evil
    elif where == "param_groups":  # in that of a stand-in's stand-in
        state["scheduler"]["successor"].optimizer.param_groups[0]["lr"] = [evil]
    elif where == "key":
        state[evil] = 1
    elif where == "state_dict":
        state[where] = {**state[where], "more": evil}
    else:
        state[where] = evil
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"holds (the Python object|something else|a ).*: use another one\.$"):
        torch_file.load(path, "File", "use another one", legacy=True, inert=HARMLESS)
    assert not os.path.exists(trace)


def op(name, argument=b""):
    return next(o.code.encode("latin1") for o in pickletools.opcodes if o.name == name) + argument


def named(module, name):
    return op("GLOBAL", f"{module}\n{name}\n".encode())


MARK, STOP, EMPTY, REDUCE = op("MARK"), op("STOP"), op("EMPTY_TUPLE"), op("REDUCE")
SGD = named("torch.optim.sgd", "SGD") + EMPTY + op("NEWOBJ")


@pytest.mark.parametrize(
    "content, what",
    [
        (named("os", "system") + STOP, "object os.system"),
        (named("builtins", "eval") + STOP, "object builtins.eval"),
        (named("__builtin__", "getattr") + STOP, "object builtins.getattr"),
        (
            op("BINUNICODE", b"\2\0\0\0os") + op("BINUNICODE", b"\6\0\0\0system") + op("STACK_GLOBAL"),
            "object os.system",
        ),
        (MARK + op("INST", b"os\nsystem\n") + STOP, "object os.system"),
        (MARK + op("INST", b"collections\nOrderedDict\n") + STOP, "operation INST"),
        (MARK + named("collections", "OrderedDict") + op("OBJ") + STOP, "operation OBJ"),
        (op("EXT1", b"\1") + STOP, "operation EXT1"),
        (op("PERSID", b"storage\n") + STOP, "operation PERSID"),
        (named("torch.optim.sgd", "SGD") + EMPTY + REDUCE + STOP, "call of torch.optim.sgd.SGD"),
        (named("collections", "OrderedDict") + EMPTY + op("NEWOBJ") + STOP, "new collections.OrderedDict"),
        (op("NONE") + EMPTY + REDUCE + STOP, "call of something"),
        (SGD + EMPTY + REDUCE + STOP, "call of"),  # a stand-in is not callable
        (named("collections", "OrderedDict") + op("EMPTY_DICT") + op("BUILD") + STOP, "state of an object"),
        (op("EMPTY_LIST") + op("EMPTY_DICT") + op("BUILD") + STOP, "state of an object"),
    ],
)
def test_what_is_refused_is_named(content, what):
    with pytest.raises(Refused, match=what):
        read(op("PROTO", b"\2") + content)


@pytest.mark.parametrize(
    "content",
    [
        SGD + op("NONE") + op("APPEND") + STOP,
        SGD + op("NONE") + op("NONE") + op("SETITEM") + STOP,
        op("EMPTY_LIST") + op("TUPLE1") * 100_000 + STOP,
        STOP,
        MARK + STOP + b"x",
        op("TUPLE2") + STOP,
        op("BINGET", b"\7") + STOP,
        op("BINUNICODE", b"\xff\0\0\0short"),
    ],
)
def test_what_is_not_well_formed_does_no_harm(content):
    try:
        found = read(op("PROTO", b"\2") + content)
    except Exception as error:
        assert not isinstance(error, (SystemError, MemoryError))
    else:
        assert not callable(found)


def test_keys_that_would_overflow_the_stack():
    """Python's hash of a deeply nested tuple ends the process."""
    long = op("BINUNICODE", struct.pack("<I", 3_000_000)) + b"x" * 3_000_000  # pays for it
    deep = long + op("TUPLE1") * 300_000
    with pytest.raises(ValueError, match="no keys"):
        read(op("PROTO", b"\2") + op("EMPTY_DICT") + deep + op("NONE") + op("SETITEM") + STOP)


NAMES = [named(*name.rsplit(".", 1)) for name in [*plain_pickle._CALLS, *HARMLESS, "torch.FloatStorage", "os.system"]]
SIMPLE = [o.code.encode("latin1") for o in pickletools.opcodes if o.arg is None]
VALUES = [op("BININT1", b"\2"), op("BINUNICODE", b"\1\0\0\0x"), op("BINGET", b"\0"), SGD]


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from([*NAMES, *SIMPLE, *VALUES]), max_size=30))
def test_any_opcodes_make_plain_things_or_fail(pieces):
    try:
        found = read(b"".join(pieces) + STOP)
    except Exception:
        return
    plain = (int, str, bytes, bool, float, type(None), list, tuple, dict, set, torch.Tensor, torch.dtype, torch.device)
    assert isinstance(found, (*plain, StandIn, plain_pickle._Name, plain_pickle._NumpyType))
