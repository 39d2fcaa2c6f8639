"""Read a pickle of torch.save without calling anything that it names.

`pickletools` parses the opcodes, and what the few that torch.save writes mean stands here. A name in the pickle stays a
name: it is never imported, and only a call of one in `_CALLS` is answered, by a function of this file. So a pickle
makes numbers, text, containers, tensors and `StandIn`s, and whatever else it wants is refused by its name. Works on
every PyTorch, where `torch.load(weights_only=True)` needs 1.13 and refuses what checkpoints of Dassl hold.

Time and memory stay within a small multiple of the pickle's length and of the storages that it names: each operation
takes a time that does not depend on what was read before it, or pays for it (`_Machine.push`), and what comes out is
no larger to somebody who walks through it than `_WALK` allows, however often its parts are the same.
"""

import math
import pickletools
import re
import sys
from collections import OrderedDict
from itertools import chain
from typing import IO, Any, Callable, Container

import numpy as np
import torch

NUMBERS = {  # name of a storage's class -> type of its elements
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_DTYPES = {str(dtype): dtype for dtype in NUMBERS.values()}  # "torch.float32"

# Limits, some times of what checkpoints need
_LENGTH = 2**24  # bytes of a pickle: a tensor takes about 100, and its elements lie elsewhere
_MADE = 16  # bytes of memory for each of the pickle
_WALK = 8  # bytes met on a walk through the object for each of the pickle and of the storages
_FREE = 2**20  # bytes that every pickle may make, and be walked through
_DEPTH = 100  # containers in one another
UNFOLDS = "what unfolds to many times its size"  # beyond them


class Refused(ValueError):
    """A pickle that wants something that is not read; its text is what, fit to be printed."""

    def __init__(self, what: str):
        super().__init__("".join(c if c.isprintable() else "?" for c in what[:200]))


class StandIn:
    """Stands for an object that is not made: the name of its class, and the state that it would have got."""

    def __init__(self, name: str):
        self.name = name
        self.state: Any = None


def read(file: IO[bytes], storage: Callable[[str, torch.dtype, int], torch.Tensor], inert: Container[str] = ()) -> Any:
    """The object in the pickle at which `file` stands, which is read to its end and no further.

    Args:
        storage: (key, dtype, number of elements) -> those elements, a tensor of one dimension.
        inert: names of classes ("torch.optim.sgd.SGD") whose objects are read as `StandIn`s.

    Raises Refused, and for a pickle that is not well formed an exception of any type.
    """
    machine, start, op = _Machine(storage, inert), file.tell(), ""
    while op != "STOP":
        opcode = _OPCODES[file.read(1).decode("latin1")]
        op = opcode.name
        if op in ("INT", "LONG"):  # digits, which take Python a time quadratic in their number; none of torch.save
            raise Refused(f"the pickle operation {op}")
        argument = opcode.arg.reader(file) if opcode.arg else None
        machine.length = file.tell() - start
        if machine.length > _LENGTH:
            raise Refused(f"a pickle of more than {_LENGTH >> 20} MiB")
        machine.do(op, argument)
    (result,) = machine.pop(len(machine.stack))
    _check_size(result, _WALK * (machine.length + sum(map(_bytes_of, machine.storages.values()))) + _FREE)
    return result


def _bytes_of(tensor):
    return tensor.numel() * tensor.element_size()


def _check_size(found, most):
    """Refuse an object on whose parts, each counted as often as it is met, more than `most` bytes' work waits.

    A list that holds another twice, which holds a third twice, and so on, is small in memory, but ends nobody's walk.
    """
    level = [found]
    for _ in range(_DEPTH):
        for part in level:
            most -= _bytes_of(part) if isinstance(part, torch.Tensor) else len(part) if isinstance(part, _SIZED) else 0
        if most < 0:
            raise Refused(UNFOLDS)
        containers = [part for part in level if isinstance(part, _CONTAINERS)]
        if not containers:
            return
        level = [x for part in containers for x in (chain(part, part.values()) if isinstance(part, dict) else part)]
    raise Refused(f"more than {_DEPTH} containers in one another")


_CONTAINERS = (dict, list, tuple, set)
_SIZED = (*_CONTAINERS, str, bytes)


class _Name:
    """What a GLOBAL opcode names."""

    def __init__(self, name):
        self.name = name


class _NumpyType:
    def __init__(self, code):
        self.code, self.order = code, "<"


# ---- what may be called --------------------------------------------------------------------------------------


def _tensor(storage, offset, size, stride, *_):  # requires_grad, hooks, metadata
    whole = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if not isinstance(storage, torch.Tensor) or len(size) != len(stride) or len(size) > 64 or not whole:
        raise ValueError("no tensor")
    # An expanded tensor, of strides 0, is one of them: whoever copies it needs more memory than the file had. Of an
    # empty one the other lengths count, which may become those of other tensors.
    if math.prod(max(n, 1) for n in size) > (_FREE if 0 in size else len(storage)):
        raise Refused("a tensor of more elements than are stored for it")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(tensor, *_):
    if not isinstance(tensor, torch.Tensor):
        raise ValueError("no parameter")
    return tensor


def _numpy_type(code, *_):
    if not re.fullmatch(r"[fiu][1248]|b1", code):
        raise ValueError("no type of number")
    return _NumpyType(code)


def _numpy_scalar(kind, data):
    return np.frombuffer(data, kind.order + kind.code).item()


def _encode(text, encoding):  # how protocol 2 writes bytes
    if encoding != "latin1":
        raise ValueError("no bytes")
    return text.encode("latin1")


def _items(values):
    if not isinstance(values, (list, tuple)):  # a tensor's would be tensors
        raise ValueError("no list")
    return values


def _keys(values):
    """The same, if each is a good key."""
    for value in values:
        if isinstance(value, tuple):  # Python's hash of one nested deeply overflows the C stack
            raise ValueError("no keys")
        # Any number of these have the same hash (NaN: before Python 3.10), so that each is compared with all
        if (isinstance(value, int) and value.bit_length() > 64) or (isinstance(value, float) and value != value):
            raise ValueError("no keys")
    return values


_CALLS = {
    "collections.OrderedDict": lambda: OrderedDict(),  # filled by later opcodes
    "collections.defaultdict": lambda kind: {},
    "collections.Counter": lambda counts: counts,
    "builtins.bytes": lambda: b"",  # others are encoded text
    "builtins.set": lambda values: set(_keys(_items(values))),
    "_codecs.encode": _encode,
    "torch.Size": lambda values: tuple(_items(values)),
    "torch.device": torch.device,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.jit._pickle.build_{kind}list": _items for kind in ("int", "double", "bool", "tensor")},
    "torch.jit._pickle.restore_type_tag": lambda value, kind: value,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
_ARGUMENTS = ("builtins.dict",)  # named, never called


# ---- the opcodes ---------------------------------------------------------------------------------------------

# Without those of protocols 0 and 1 alone, and LONG4, numbers of more digits than anybody reads
_PUSH = (  # their argument
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES "
    "SHORT_BINBYTES BINBYTES8"
).split()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MAKE = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_ADD = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


class _Machine:
    def __init__(self, storage, inert):
        self.storage, self.inert = storage, inert
        self.stack, self.marks, self.memo = [], [0], {}  # marks: where each begins
        self.storages = {}  # by key
        self.length, self.made = 0, 0  # bytes read of the pickle, and made

    def push(self, made, read=()):
        """Pay for something that may be large or is made by few bytes, and put it on the stack. read: to make it."""
        self.made += sys.getsizeof(made) + sum(len(part) for part in read if isinstance(part, _SIZED))
        if self.made > _MADE * self.length + _FREE:
            raise Refused(UNFOLDS)
        self.stack.append(made)

    def do(self, op, argument):
        if op in _PUSH:
            self.stack.append(argument)
        elif op in _CONSTANTS:
            self.stack.append(_CONSTANTS[op])
        elif op in _MAKE:
            self.push(_MAKE[op]())
        elif op in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if op == "MEMOIZE" else argument] = self.stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif op == "MARK":
            self.marks.append(len(self.stack))
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.push(tuple(self.pop(int(op[-1]))))
        elif op == "TUPLE":
            self.push(tuple(self.pop_to_mark()))
        elif op in _ADD:
            self.add(op)
        elif op in ("GLOBAL", "INST"):  # pickletools joins module and name
            self.name(*argument.split(" ", 1))
            if op == "INST":
                raise Refused("the pickle operation INST")
        elif op == "STACK_GLOBAL":
            self.name(*self.pop(2))
        elif op == "BINPERSID":
            self.stack.append(self.persistent(*self.pop(1)))
        elif op == "REDUCE":
            self.call(*self.pop(2))
        elif op == "NEWOBJ":
            self.new(*self.pop(2))
        elif op == "BUILD":
            self.build(*self.pop(1))
        elif op in ("POP", "POP_MARK"):
            self.pop(1) if op == "POP" else self.pop_to_mark()
        elif op not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"the pickle operation {op}")

    def pop(self, n):
        at = len(self.stack) - n
        if at < self.marks[-1]:
            raise ValueError("the stack is too short")
        return self.cut(at)

    def pop_to_mark(self):
        if len(self.marks) == 1:
            raise ValueError("no mark")
        return self.cut(self.marks.pop())

    def cut(self, at):
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def add(self, op):
        values = self.pop_to_mark() if op.endswith("S") else self.pop(1 if op == "APPEND" else 2)
        target = self.stack[-1]
        if op.startswith("APPEND") and isinstance(target, list):
            target.extend(values)
        elif op.startswith("SETITEM") and isinstance(target, dict):
            target.update(zip(_keys(values[::2]), values[1::2]))
        elif op == "ADDITEMS" and isinstance(target, set):
            target.update(_keys(values))
        else:
            raise ValueError("no container")

    def name(self, module, name):
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("no name")
        module = {"__builtin__": "builtins"}.get(module, module)  # as Python 2 and protocol 2 call it
        name = f"{module}.{name}"
        if name in _DTYPES:
            self.stack.append(_DTYPES[name])
        elif name in _CALLS or name in NUMBERS or name in _ARGUMENTS or name in self.inert:
            self.stack.append(_Name(name))
        else:
            raise Refused(f"the Python object {name}")

    def persistent(self, what):
        if not isinstance(what, tuple) or not 5 <= len(what) <= 6:
            raise Refused("a stored object")
        kind, numbers, key, _, numel, *view = what  # the fourth is the device that it was on
        if kind != "storage" or view not in ([], [None]) or not isinstance(key, str) or type(numel) is not int:
            raise Refused("a stored object")
        dtype = NUMBERS[numbers.name]
        if key not in self.storages:
            self.storages[key] = self.storage(key, dtype, numel)
        if self.storages[key].dtype != dtype or len(self.storages[key]) != numel:
            raise ValueError("two sizes of one storage")
        return self.storages[key]

    def call(self, function, arguments):
        if not isinstance(function, _Name) or not isinstance(arguments, tuple) or function.name not in _CALLS:
            raise Refused(f"a call of {getattr(function, 'name', 'something')}")
        if len(arguments) > 9:  # no function here has more
            raise ValueError("too many arguments")
        self.push(_CALLS[function.name](*arguments), arguments)

    def new(self, kind, arguments):
        if not isinstance(kind, _Name) or kind.name not in self.inert or arguments != ():
            raise Refused(f"a new {getattr(kind, 'name', 'something')}")
        self.push(StandIn(kind.name))

    def build(self, state):
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.state = state
        elif isinstance(target, _NumpyType):
            if state[1] not in ("<", ">", "|", "="):
                raise ValueError("no order")
            target.order = state[1]
        elif not (isinstance(target, OrderedDict) and isinstance(state, dict)):  # a state dict's versions of modules
            raise Refused("the state of an object that has none")
