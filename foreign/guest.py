"""A method's folder with a trainer that was written for Dassl comes in: config keys, packages, bridges, its class.

All of it is for the process that runs this trainer alone, and is taken back if the folder cannot be used.
"""

import contextlib
import importlib
import importlib.machinery
import sys
from typing import Any, Callable

from yacs.config import CfgNode

from dassl.config.defaults import _C
from dassl.engine import TRAINER_REGISTRY
from harness.catalogue import Method
from harness.errors import UserError
from harness.method_code import CHECKSUM, code_checksum
from trainers import keys

from . import bridges, clip_files
from .trainer import recorded

_here = []  # (method, what takes it back) of the one that is here


def invite(method: Method, import_code: Callable[[Method, Callable], None]) -> None:
    """Register the trainer of a method's folder. Raises UserError if it cannot be used, or another one is here.

    import_code: own_methods', which calls what it is given before it imports.
    """
    if _here:
        raise UserError(
            f"{method.trainer} and {_here[0][0].trainer} were both written for Dassl, and each needs a process of its "
            "own."
        )
    with contextlib.ExitStack() as undo:
        checksum = code_checksum(method.home)
        undo.callback(_forget, method.folder)
        for replacement in bridges.replacements():
            _put(undo, *replacement)
        _find_packages(undo, method)
        cls = _class_of(method, lambda: import_code(method, lambda: _give_weights(undo)))
        nodes = _add_defaults(undo, method, checksum)
        TRAINER_REGISTRY._obj_map[method.trainer] = recorded(cls, method.trainer, nodes)
        undo.callback(TRAINER_REGISTRY._obj_map.pop, method.trainer)
        _here.append((method, undo.pop_all()))


def take_leave() -> None:
    """Take back all that `invite` has done."""
    if _here:
        _here.pop()[1].close()


def _put(undo, holder, name, value):
    own = vars(holder)
    if name in own:
        undo.callback(setattr, holder, name, own[name])
    else:
        undo.callback(delattr, holder, name)
    setattr(holder, name, value)


def _forget(name):
    for module in [module for module in sys.modules if f"{module}.".startswith(f"{name}.")]:
        del sys.modules[module]


class _Packages:
    """Finds a folder's packages before installed ones of the same names."""

    def __init__(self, method):
        self.names, self.home = method.packages, method.home

    def find_spec(self, name: str, path: Any = None, target: Any = None):
        return importlib.machinery.PathFinder.find_spec(name, [self.home]) if name in self.names else None


def _find_packages(undo, method):
    before = dict(sys.modules)
    for name in method.packages:
        _forget(name)
    finder = _Packages(method)
    sys.meta_path.insert(0, finder)

    def back():
        sys.meta_path.remove(finder)
        for name in method.packages:
            _forget(name)
            sys.modules.update({m: module for m, module in before.items() if f"{m}.".startswith(f"{name}.")})

    undo.callback(back)


def _give_weights(undo):
    """In the clip/clip.py that the trainer will import."""
    for replacement in list(clip_files.replacements(importlib.import_module("clip.clip"))):
        _put(undo, *replacement)


def _class_of(method, import_code):
    """The class that its code registers. Others that it brings along, under whatever names, are left out."""
    registered = dict(TRAINER_REGISTRY._obj_map)
    TRAINER_REGISTRY._obj_map.clear()
    try:
        import_code()
        found = dict(TRAINER_REGISTRY._obj_map)
    finally:
        TRAINER_REGISTRY._obj_map.clear()
        TRAINER_REGISTRY._obj_map.update(registered)
    name = method.class_name or method.trainer
    if name not in found:
        raise UserError(
            f"The files in {method.home} register {', '.join(found) or 'no trainer'}, and method.yaml names {name}: "
            "have class in it name the one that is meant."
        )
    return found[name]


def _add_defaults(undo, method, checksum):
    """Set the config keys of method.yaml; returns the nodes below TRAINER that are the method's.

    A node of ours that has the name of one of its is its, in this process.
    """
    undo.callback(_restore, _C, _C.clone())
    for known in (keys.RANGES, keys.TRAINING_FILES, keys.CLASS_FILES, keys.RUN_FOLDERS):
        undo.callback(known.update, known.copy())
    undo.callback(keys._METHODS.__setitem__, slice(None), list(keys._METHODS))
    own = method.folder.upper()
    nodes = list(dict.fromkeys(key.split(".")[1] for key, _ in method.defaults if key.startswith("TRAINER.")))
    nodes = [*nodes, *([] if own in nodes else [own])]
    for node in nodes:
        keys.forget_node(node)
        _C.TRAINER[node] = CfgNode()
    for key, value in (*method.defaults, (f"TRAINER.{own}.{CHECKSUM}", checksum)):
        _set(method, key, list(value) if isinstance(value, tuple) else value)
    return nodes


def _set(method, key, value):
    *sections, leaf = key.split(".")
    node = _C
    for section in sections:
        node = node.setdefault(section, CfgNode())
        if not isinstance(node, CfgNode):
            break
    if not isinstance(node, CfgNode) or isinstance(node.get(leaf), CfgNode):
        raise UserError(
            f"defaults.{key} in {method.home}/method.yaml is a section where Dassl has a key, or the reverse."
        )
    node[leaf] = value


def _restore(node, before):
    """Make a config what it was, keys in their order, in place, as others hold it."""
    now = dict(node)
    node.clear()
    for key, value in before.items():
        if isinstance(value, CfgNode) and isinstance(now.get(key), CfgNode):
            _restore(now[key], value)
            value = now[key]
        node[key] = value
