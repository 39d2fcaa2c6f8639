"""Files made to exhaust whoever reads them: each ends in a sentence, or in something small, soon and in little memory.

Most are of about a megabyte, and all are read in one process whose memory and time are limited.
"""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from tests.trainers.files.test_plain_pickle import EMPTY, MARK, NAMES, REDUCE, SGD, STOP, named, op
from trainers.errors import UserError
from trainers.files import plain_pickle, torch_file
from zoo.convert import HARMLESS

MANY = 200_000
# For each file, of the processor; and bytes beyond those that the process has before
SECONDS, MEMORY = 5, 256 * 2**20

# ---- pieces of pickles --------------------------------------------------------------------------------------


def text(value):
    return op("BINUNICODE", struct.pack("<I", len(value)) + value.encode())


def number(n):
    return op("LONG1", bytes([16]) + n.to_bytes(16, "little", signed=True))


def numbers(*values):
    return MARK + b"".join(map(number, values)) + op("TUPLE")


def put(i):
    return op("LONG_BINPUT", struct.pack("<I", i))


def get(i):
    return op("BINGET", bytes([i]))


def one(piece):
    return piece + op("TUPLE1")


NONE, LIST, DICT, POP, APPEND = (op(name) for name in ("NONE", "EMPTY_LIST", "EMPTY_DICT", "POP", "APPEND"))
APPENDS, SETITEM = op("APPENDS"), op("SETITEM")
BUILD, PERSID, STACK_GLOBAL = op("BUILD"), op("BINPERSID"), op("STACK_GLOBAL")
# Lists that hold another twice, which holds a third twice, and so on
DOUBLING = LIST + put(9) + (POP + LIST + MARK + get(9) * 2 + APPENDS + put(9)) * 60
LIST_OF_MANY = LIST + MARK + NONE * MANY + APPENDS
DEEP = op("BINUNICODE", struct.pack("<I", MANY)) + b"x" * MANY + op("TUPLE1") * 40_000


def storage(key=None, numel=None, kind=None, more=b"", numbers="FloatStorage"):
    parts = kind or text("storage"), named("torch", numbers), key or text("0"), text("cpu"), numel or number(1000)
    return MARK + b"".join(parts) + more + op("TUPLE") + PERSID


def tensor(size, stride, offset=0, stored=b""):
    arguments = (stored or storage()) + number(offset) + size + stride + op("NEWFALSE") + DICT
    return named("torch._utils", "_rebuild_tensor_v2") + MARK + arguments + op("TUPLE") + REDUCE


def calls(module, name, argument, n=MANY):
    """n calls of a function with the same argument, whose results are dropped."""
    return named(module, name) + put(0) + argument + put(1) + (POP + get(0) + get(1) + REDUCE) * n + POP


def collected(piece, n=MANY, first=NONE):
    """A list of the same piece, which may get(0) what was put first."""
    return first + put(0) + POP + LIST + MARK + piece * n + APPENDS


VECTOR, VIEW = tensor(numbers(1000), numbers(1)), tensor(numbers(1000), numbers(1), 0, get(0))
ONE_HASH = [number(i * (2**61 - 1)) for i in range(40_000)]
NAN = op("BINFLOAT", struct.pack(">d", float("nan")))
MANY_ONES = MARK + number(1) * MANY + op("TUPLE")

PICKLES = {
    "what unfolds to many times its size": {
        "nested tuples": MARK * MANY + op("TUPLE") * MANY,
        "empty lists": collected(LIST, 5 * MANY),
        "empty dicts": collected(DICT, 5 * MANY),
        "empty sets": collected(op("EMPTY_SET"), 5 * MANY),
        "ordered dicts": collected(get(0) + EMPTY + REDUCE, first=named("collections", "OrderedDict")),
        "bytes": calls("_codecs", "encode", text("x" * 10**6) + text("latin1") + op("TUPLE2")),
        "sizes": calls("torch", "Size", one(LIST_OF_MANY)),
        "sets": calls("builtins", "set", one(LIST + MARK + op("BININT1", b"\1") * MANY + APPENDS)),
        "doubling": DOUBLING,
        "doubling tuples": NONE + (put(0) + get(0) + op("TUPLE2")) * 60,
        "doubling dicts": DICT + (put(0) + POP + DICT + NONE + get(0) + SETITEM + number(1) + get(0) + SETITEM) * 60,
        "one text, over and over": collected(get(0), first=text("x" * 10**6)),
        "one list, over and over": collected(get(0), first=LIST_OF_MANY),
        "one tensor, over and over": collected(get(0), first=VECTOR),
        "views of one storage": collected(VIEW, 4000, first=storage()),
    },
    "more than 100 containers in one another": {
        "nested lists": LIST * 10_000 + APPEND * 9_999,
        "a list in itself": LIST + put(0) + get(0) + APPEND,
    },
    "a tensor of more elements than are stored for it": {
        "strides 0": tensor(numbers(2 * 10**9, 512), numbers(0, 0)),
        "expanded": tensor(numbers(1001), numbers(0)),
        "overlapping rows": tensor(numbers(500, 500), numbers(1, 1)),
        "an empty tensor of a large dimension": tensor(numbers(0, 10**12), numbers(1, 1)),
        "lengths whose product overflows": tensor(numbers(2**62, 4, 0), numbers(0, 0, 0)),
    },
    "a stored object": {
        "many parts of a storage": MARK + NONE * MANY + op("TUPLE") + put(0) + (get(0) + PERSID) * MANY,
        "a doubling key": storage(key=DOUBLING),
        "a doubling kind": storage(kind=DOUBLING),
        "a doubling part": storage(more=DOUBLING),
    },
    "the Python object": {
        "a long name": named("x" * 10**6, "x"),
        "a name of control characters": text("os\n\x1b[2J") + text("x\r") + STACK_GLOBAL,
    },
    "the pickle operation": {
        "a huge number": op("LONG4", struct.pack("<i", 10**6)) + b"\x7f" * 10**6,
        "digits": op("LONG", b"9" * 10**6 + b"L\n"),
        "more digits": op("INT", b"9" * 10**6 + b"\n"),
    },
    "something else": {
        "nested marks": NONE * MANY + MARK * MANY + op("POP_MARK") * MANY,
        "marks": MARK * 5 * MANY,
        "a size of a tensor": calls("torch", "Size", one(VECTOR), 5000),
        "a set of a tensor": calls("builtins", "set", one(VECTOR), 5000),
        "many arguments": calls("torch._utils", "_rebuild_parameter", MARK + NONE * MANY + op("TUPLE")),
        "many dimensions": tensor(MANY_ONES, MANY_ONES),
        "two sizes of a storage": collected(storage() + storage(numel=number(999)), 1),
        "two types of a storage": collected(storage() + storage(numbers="IntStorage"), 1),
        "a doubling name": DOUBLING + text("x") + STACK_GLOBAL,
        "a deep name": DEEP + text("x") + STACK_GLOBAL,
        "a deep order": named("numpy", "dtype") + one(text("f4")) + REDUCE + NONE + DEEP + op("TUPLE2") + BUILD,
        "sizes that take long to compare": tensor(one(DOUBLING), one(DOUBLING)),
        "a deep key": DICT + DEEP + NONE + SETITEM,
        "keys of one hash": DICT + MARK + NONE.join(ONE_HASH) + NONE + op("SETITEMS"),
        "a set of one hash": op("EMPTY_SET") + MARK + b"".join(ONE_HASH) + op("ADDITEMS"),
        "keys that are no numbers": DICT + (NAN + NONE + SETITEM) * 100_000,
        "a huge key": op("LONG1", b"\xff" + b"\x7f" * 255) + put(0) + DICT + (get(0) + NONE + SETITEM) * MANY,
        "a text that lies": op("BINUNICODE8", b"\xff" * 7 + b"\x7f") + NONE,
        "bytes that lie": op("BINBYTES", b"\xff" * 4) + NONE,
        "a device": calls("torch", "device", one(text("x" * 10**6))),
        "a negative stride": tensor(numbers(2), numbers(-1), 1),
        "beyond the storage": tensor(numbers(2), numbers(999), 1),
        "a negative size": tensor(numbers(-1), numbers(1)),
        "a negative offset": tensor(numbers(1), numbers(1), -1),
        "a huge offset": tensor(numbers(1), numbers(1), 2**70),
    },
    "is damaged": {
        "a storage of a huge size": storage(numel=number(2**62)),
        "a storage of a negative size": storage(numel=number(-1)),
    },
    "": {  # read
        "marks on a full stack": (MARK + NONE) * MANY + op("POP_MARK") * MANY + NONE,
        "the memo": NONE + op("MEMOIZE") * 5 * MANY,
        "large numbers of the memo": NONE + b"".join(put(2**32 - 1 - i) for i in range(MANY)),
        "small tensors": collected(tensor(EMPTY, EMPTY, 0, get(0)), 10_000, first=storage()),
        "stand-ins": collected(get(0) + EMPTY + op("NEWOBJ"), first=named("torch.optim.sgd", "SGD")),
        "one storage": (storage() + POP) * 10_000 + NONE,
        "keys of which bits are equal": DICT + b"".join(number(i << 45) + NONE + SETITEM for i in range(2**16)),
        "a frame that lies": op("FRAME", b"\xff" * 7 + b"\x7f") + NONE,
        "states": LIST_OF_MANY + put(0) + POP + SGD + (get(0) + BUILD) * MANY,
    },
}

# ---- files --------------------------------------------------------------------------------------------------


def archive(members, **options):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in members.items():
            file.writestr(f"a/{name}", data, **options)
    return content.getvalue()


def saved(content, **members):
    return archive({"data.pkl": op("PROTO", b"\2") + content + STOP, "version": "3", "data/0": bytes(4000), **members})


def changed(content, signature, at, value):
    """A zip archive in whose headers with that signature the bytes from `at` on are `value`."""
    changed, start = bytearray(content), content.find(signature)
    while start >= 0:
        changed[start + at : start + at + len(value)] = value
        start = content.find(signature, start + 1)
    return bytes(changed)


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
GOOD = saved(tensor(numbers(1000), numbers(1)))


def overlapping():
    """Many entries in the table of contents for one member of a megabyte."""
    content = archive({"data/0": bytes(10**6)})
    start = content.find(CENTRAL)
    entry, end = content[start : content.find(b"PK\5\6")], bytearray(content[content.find(b"PK\5\6") :])
    entries = b"".join(entry.replace(b"data/0", b"%06d" % i) for i in range(2000))
    struct.pack_into("<HHI", end, 8, 2000, 2000, len(entries))
    return content[:start] + entries + bytes(end)


def twice(name):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        for other in (name, "data.pkl", "version", name):
            file.writestr(f"a/{other}", NONE + STOP)
    return content.getvalue()


def legacy(content, keys=None, elements=b""):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    keys = pickle.dumps([], 2) if keys is None else keys
    return b"".join(pickle.dumps(part, 2) for part in head) + op("PROTO", b"\2") + content + STOP + keys + elements


def tar():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for name in ("sys_info", "pickle", "tensors", "storages"):  # PyTorch before 0.1.10
            info = tarfile.TarInfo(name)
            info.size = 3
            file.addfile(info, io.BytesIO(b"\x80\2."))
    return content.getvalue()


CODE = 'class M(Module):\n  __parameters__ = ["w", ]\n  __buffers__ = []\n'


def module(*attributes):
    """A module of TorchScript with these attributes: pieces that are a name and a value."""
    return (
        named("__torch__.m", "M") + EMPTY + op("NEWOBJ") + DICT + MARK + b"".join(attributes) + op("SETITEMS") + BUILD
    )


def script(content, code=CODE):
    members = {"data.pkl": op("PROTO", b"\2") + content + STOP, "constants.pkl": b"\x80\2).", "version": "3"}
    members.update({"data/0": bytes(4000), "code/__torch__/m.py": code})
    return archive(members, compress_type=zipfile.ZIP_STORED)


W = text("w") + tensor(numbers(1000), numbers(1))
FILES = {
    "is damaged": {
        "inflated": archive({"data.pkl": NONE + STOP, "data/0": bytes(2**29)}, compress_type=zipfile.ZIP_DEFLATED),
        "inflated by bzip2": archive({"data.pkl": bytes(2**27)}, compress_type=zipfile.ZIP_BZIP2),
        "inflated by LZMA": archive({"data.pkl": bytes(2**27)}, compress_type=zipfile.ZIP_LZMA),
        "inflated code": archive({"constants.pkl": b"", "code/m.py": bytes(2**27)}, compress_type=zipfile.ZIP_DEFLATED),
        "inflated code that lies": changed(
            archive({"constants.pkl": b"", "code/m.py": bytes(2**29)}, compress_type=zipfile.ZIP_DEFLATED),
            CENTRAL,
            24,
            struct.pack("<I", 1000),
        ),
        "overlapping": overlapping(),
        "two pickles": twice("data.pkl"),
        "two of a name": twice("data/0"),
        "encrypted": changed(GOOD, CENTRAL, 8, b"\1\0"),
        "a size that lies": changed(GOOD, CENTRAL, 24, struct.pack("<I", 2**31)),
        "a small size that lies": changed(GOOD, CENTRAL, 24, struct.pack("<I", 1)),
        "sizes of zip64 that are missing": changed(GOOD, CENTRAL, 20, b"\xff" * 8),
        "an offset beyond the file": changed(GOOD, CENTRAL, 42, struct.pack("<I", 2**31)),
        "another method of compression": changed(GOOD, CENTRAL, 10, b"\x63\0"),
        "an archive without members": b"PK\5\6" + bytes(18),
        "tar": tar(),
        "old: many storages that are not there": legacy(
            collected(b"".join(storage(text(str(i)), number(10**5)) for i in range(10_000)), 1)
        ),
        "old: a storage of a huge size": legacy(storage(numel=number(2**62))),
        "old: a storage of a negative size": legacy(storage(numel=number(-(2**62)))),
        "old: doubling keys": legacy(NONE, op("PROTO", b"\2") + one(DOUBLING) + STOP),
        "old: deep keys": legacy(NONE, op("PROTO", b"\2") + one(DEEP) + STOP),
        "old: a text as keys": legacy(NONE, pickle.dumps("0" * 1000, 2)),
        "old: a number of elements that lies": legacy(storage(), pickle.dumps(["0"], 2), struct.pack("<q", 2**62)),
        "old: a negative one": legacy(storage(), pickle.dumps(["0"], 2), struct.pack("<q", -1) + bytes(4000)),
    },
    "what unfolds to many times its size": {
        "old: doubling": legacy(DOUBLING),
        "script: one module, over and over": script(
            module(W) + (put(0) + POP + module(text("a"), get(0), text("b"), get(0))) * 60
        ),
        "script: a module in itself": script(module() + put(0) + DICT + text("a") + get(0) + SETITEM + BUILD),
        "script: one tensor, over and over": script(
            (W + put(0) + POP * 2) + module(*(text(f"m{i}") + module(text("w"), get(0)) for i in range(500)))
        ),
    },
    "a tensor of more elements than are stored for it": {
        "old: strides 0": legacy(tensor(numbers(2 * 10**9, 512), numbers(0, 0)), elements=bytes(4000)),
        "script: strides 0": script(module(text("w"), tensor(numbers(2 * 10**9, 512), numbers(0, 0)))),
    },
    "something else": {"script: no module": script(LIST)},
    "the Python object": {
        "script: code that never closes": script(module(W), 'class M(Module):\n  __parameters__ = ["w", ' * 40_000),
        "script: code that is no text": script(module(W), b"\xff"),
    },
    "an archive that torch.save did not write": {
        "a pickle with an archive behind it": legacy(NONE) + archive({"x": "y"}),
    },
    "": {"script: sound": script(module(W))},
}
ALL = {(said, name): saved(content) for said, group in PICKLES.items() for name, content in group.items()}
ALL.update({(said, name): content for said, group in FILES.items() for name, content in group.items()})

READER = """
import json, resource, sys, time
from trainers.errors import UserError
from trainers.files import torch_file
from zoo.convert import HARMLESS

for path in sys.stdin.read().splitlines():
    pages = int(open("/proc/self/statm").read().split()[0])
    memory = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 60, resource.RLIM_INFINITY))
    start, said = time.process_time(), ""
    try:
        torch_file.load(path, "File", "use another one", legacy=True, torchscript=True, inert=HARMLESS)
    except UserError as error:
        said = str(error)
    print(json.dumps([said, time.process_time() - start]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What was said of each file, and the seconds that it took; and what the process said on stderr."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [folder / str(i) for i in range(len(ALL))]
    for path, content in zip(paths, ALL.values()):
        path.write_bytes(content)
    command, listed = [sys.executable, "-c", READER, str(MEMORY)], "\n".join(map(str, paths))
    done = subprocess.run(command, input=listed, capture_output=True, text=True, cwd=REPOSITORY)
    return dict(zip(ALL, map(json.loads, done.stdout.splitlines()))), done.stderr


@pytest.mark.long
@pytest.mark.parametrize("said, name", ALL)
def test_ends_in_a_sentence_soon_and_in_little_memory(outcomes, said, name):
    found, error = outcomes
    assert (said, name) in found, error
    sentence, seconds = found[said, name]
    assert seconds < SECONDS
    assert said in sentence and sentence.isprintable() and len(sentence) < 500
    assert bool(said) == sentence.endswith(": use another one.")


def test_what_has_no_end_and_what_is_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    for name, said in (("pipe", "is no regular file"), ("sparse", "is damaged")):
        with pytest.raises(UserError, match=said):
            torch_file.load(str(tmp_path / name), "File", "use another one")


PIECES = [LIST, DICT, MARK, APPEND, APPENDS, SETITEM, op("SETITEMS"), op("TUPLE"), op("TUPLE2"), EMPTY, REDUCE, POP]
PIECES += [op("EMPTY_SET"), op("ADDITEMS"), op("POP_MARK"), op("MEMOIZE"), BUILD, STACK_GLOBAL, PERSID, NONE, VECTOR]
PIECES += [*map(get, range(3)), *map(put, range(3)), text("x"), text("latin1"), number(1), numbers(9, 9), storage()]


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.sampled_from([*PIECES, *NAMES]), st.sampled_from([1, 1, 1, 2, 300])), max_size=40),
    times=st.sampled_from([1, 1, 30]),
)
def test_any_operations_make_little(pieces, times):
    content = b"".join(piece * n for piece, n in pieces) * times + STOP
    elements = torch.zeros(1000)
    tracemalloc.start()
    try:
        found = plain_pickle.read(io.BytesIO(content), lambda key, dtype, numel: elements, HARMLESS)
    except Exception:
        found = None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 150 * len(content) + 2 * 2**20
    assert len(repr(found)) < 150 * len(content) + 2 * 2**20  # is over soon, too
