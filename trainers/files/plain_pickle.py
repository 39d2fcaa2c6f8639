"""Read a pickle of torch.save without calling anything that it names.

`pickletools` parses the opcodes, and what the few that torch.save writes mean stands here. A name in the pickle stays a
name: it is never imported, and only a call of one in `_CALLS` is answered, by a function of this file. So a pickle
makes numbers, text, containers, tensors and `StandIn`s, and whatever else it wants is refused by its name. Works on
every PyTorch, where `torch.load(weights_only=True)` needs 1.13 and refuses what checkpoints of Dassl hold.
"""

import pickletools
import re
from collections import OrderedDict
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


class Refused(ValueError):
    """A pickle that wants something that is not read; its text is what."""


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
    machine = _Machine(storage, inert)
    for opcode, argument, _ in pickletools.genops(file):
        machine.do(opcode.name, argument)
    (result,) = machine.pop(len(machine.stack))
    return result


class _Name:
    """What a GLOBAL opcode names."""

    def __init__(self, name):
        self.name = name


class _NumpyType:
    def __init__(self, code):
        self.code, self.order = code, "<"


# ---- what may be called --------------------------------------------------------------------------------------


def _tensor(storage, offset, size, stride, *_):  # requires_grad, hooks, metadata
    if not isinstance(storage, torch.Tensor) or offset < 0 or len(size) != len(stride):
        raise ValueError("no tensor")
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


def _keys(values):
    if any(isinstance(value, tuple) for value in values):  # Python's hash of one nested deeply overflows the C stack
        raise ValueError("no keys")
    return values


_CALLS = {
    "collections.OrderedDict": lambda: OrderedDict(),  # filled by later opcodes
    "collections.defaultdict": lambda kind: {},
    "collections.Counter": lambda counts: counts,
    "builtins.bytes": lambda: b"",  # others are encoded text
    "builtins.set": lambda values: set(_keys(values)),
    "_codecs.encode": _encode,
    "torch.Size": tuple,
    "torch.device": torch.device,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
_ARGUMENTS = ("builtins.dict",)  # named, never called


# ---- the opcodes ---------------------------------------------------------------------------------------------

_MARK = object()
_PUSH = (  # their argument
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
).split()
_MAKE = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_ADD = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")


class _Machine:
    def __init__(self, storage, inert):
        self.storage, self.inert = storage, inert
        self.stack, self.memo = [], {}

    def do(self, op, argument):
        if op in _PUSH:
            self.stack.append(argument)
        elif op in _MAKE:
            self.stack.append(_MAKE[op]())
        elif op in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if op == "MEMOIZE" else argument] = self.stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif op == "MARK":
            self.stack.append(_MARK)
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self.pop(int(op[-1]))))
        elif op in ("TUPLE", "LIST"):
            self.stack.append((tuple if op == "TUPLE" else list)(self.pop_to_mark()))
        elif op == "DICT":
            items = self.pop_to_mark()
            self.stack.append(dict(zip(_keys(items[::2]), items[1::2])))
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
        values = self.stack[-n:]
        if len(values) < n or any(value is _MARK for value in values):
            raise ValueError("the stack is too short")
        del self.stack[-n:]
        return values

    def pop_to_mark(self):
        at = max(i for i, value in enumerate(self.stack) if value is _MARK)
        values = self.stack[at + 1 :]
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
        module = {"__builtin__": "builtins"}.get(module, module)  # as Python 2 and protocol 2 call it
        name = f"{module}.{name}"
        if name in _DTYPES:
            self.stack.append(_DTYPES[name])
        elif name in _CALLS or name in NUMBERS or name in _ARGUMENTS or name in self.inert:
            self.stack.append(_Name(name))
        else:
            raise Refused(f"the Python object {name}")

    def persistent(self, what):
        kind, numbers, key, _, numel, *view = what  # the fourth is the device that it was on
        if kind != "storage" or numel < 0 or any(part is not None for part in view):
            raise Refused(f"a stored {kind}")
        return self.storage(key, NUMBERS[numbers.name], numel)

    def call(self, function, arguments):
        if not isinstance(function, _Name) or not isinstance(arguments, tuple) or function.name not in _CALLS:
            raise Refused(f"a call of {getattr(function, 'name', 'something')}")
        self.stack.append(_CALLS[function.name](*arguments))

    def new(self, kind, arguments):
        if not isinstance(kind, _Name) or kind.name not in self.inert or arguments != ():
            raise Refused(f"a new {getattr(kind, 'name', 'something')}")
        self.stack.append(StandIn(kind.name))

    def build(self, state):
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.state = state
        elif isinstance(target, _NumpyType):
            target.order = {"<": "<", ">": ">", "|": "|", "=": "="}[state[1]]
        elif not (isinstance(target, OrderedDict) and isinstance(state, dict)):  # a state dict's versions of modules
            raise Refused("the state of an object that has none")
