"""The code of methods that lie outside this checkout (harness/method_folders.py), imported for whoever runs them.

A folder becomes a package of the method's name, so that its files may import each other (`from .parts import X`) and
take the place of none of ours. It comes in whole or not at all. A trainer that was written for Dassl (foreign/) changes
the process that it is in, and has one to itself.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable

from dassl.config.defaults import _C
from dassl.engine import TRAINER_REGISTRY
from harness import records
from harness.catalogue import METHODS, Method
from harness.errors import UserError
from harness.method_code import CHECKSUM, code_checksum, modules
from trainers.keys import Range, declare, forget_node
from trainers.run.folder import RunFolder


def load(trainers: Iterable[str] = ()) -> None:
    """Import the code of the methods outside this checkout, of those trainers (of none: of all that METHOD_PATH names).

    One that learns from a run may need any of the others for that; of one written for Dassl nobody learns. What is here
    already is not imported again. Raises UserError, naming file and line, if one cannot be used.
    """
    asked = set(trainers)
    guests = [method.trainer for method in METHODS if method.defaults is not None and method.trainer in asked]
    if guests and len(asked) > 1:
        raise UserError(f"{guests[0]} was written for Dassl and needs a process of its own: name no other beside it.")
    needs_all = not asked or any(method.teacher_key for method in METHODS if method.trainer in asked)
    for method in METHODS:
        if method.home and (method.trainer in asked or (needs_all and method.defaults is None)):
            load_method(method)


def load_method(method: Method) -> None:
    """As `load`, one that need not be in the catalogue."""
    if method.trainer in TRAINER_REGISTRY.registered_names() and method.folder in sys.modules:
        return
    if method.defaults is not None:
        from foreign import guest  # here: few methods are

        guest.invite(method, _import)
        return
    before = set(TRAINER_REGISTRY.registered_names()), set(_C.TRAINER), _C.TRAINER.clone()
    try:
        checksum = code_checksum(method.home)
        _import(method)
        node = _node(method, *before[:2])
    except UserError:
        _undo(method, *before)
        raise
    _C.TRAINER[node][CHECKSUM] = checksum
    wanted = f"{checksum!r}, that of {method.home} as it is now: put the earlier code back, or train again"
    declare(f"TRAINER.{node}.{CHECKSUM}", Range(wanted, lambda value: value == checksum))


def run_folder(folder: str) -> RunFolder:
    """A run's folder, and the code of its method is here. Raises UserError for a method that nobody knows."""
    trainer = records.record_of(folder).get("trainer")
    if any(method.defaults is not None and method.trainer == trainer for method in METHODS):
        raise UserError(
            f'"{folder}" is a run of {trainer}, a trainer written for Dassl, whose model only its scripts load: '
            "TEST.SAVE_PREDICTIONS keeps its logits."
        )
    run = RunFolder(folder)
    name = run.cfg.TRAINER.NAME
    if any(method.home and method.trainer == name for method in METHODS):
        load([name])
        return RunFolder(folder)  # whose config has that method's keys
    if name not in TRAINER_REGISTRY.registered_names():
        raise UserError(
            f'"{folder}" is a run of trainer {name}, which is no method here: name the folder of one of your own '
            "with METHOD_PATH."
        )
    return run


def _import(method, prepare=lambda: None):
    """Import its code; what `prepare` raises is said as if that did."""
    init = os.path.join(method.home, "__init__.py")
    if os.path.exists(init):
        spec = importlib.util.spec_from_file_location(method.folder, init, submodule_search_locations=[method.home])
    else:
        spec = importlib.machinery.ModuleSpec(method.folder, None, is_package=True)
        spec.submodule_search_locations = [method.home]
    package = importlib.util.module_from_spec(spec)
    sys.modules[method.folder] = package
    try:
        prepare()
        if spec.loader:
            spec.loader.exec_module(package)
        for file in modules(method.home):
            importlib.import_module(f"{method.folder}.{file[: -len('.py')]}")
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{_place_of(error, method.home)}: {_words(error)}: mend it, or leave the method out."
        ) from error


def _node(method, trainers, nodes):
    """The config node of the trainer that a method's files have registered. Raises UserError unless that is all."""
    found = [name for name in TRAINER_REGISTRY.registered_names() if name not in trainers]
    if found != [method.trainer]:
        what = f"register {', '.join(found)}" if found else "register no trainer"
        raise UserError(
            f"The files in {method.home} {what}, and method.yaml names {method.trainer}: have "
            f"@TRAINER_REGISTRY.register() above that class alone."
        )
    node = getattr(TRAINER_REGISTRY.get(method.trainer), "config_node", None)
    if node not in _C.TRAINER:
        raise UserError(
            f"{method.trainer} in {method.home} has no config_node that add_defaults has added: derive it from "
            "trainers.base.PromptTrainer, and name its node; of a trainer written for Dassl, method.yaml says as "
            "defaults what its train.py adds to the config."
        )
    if node in nodes:
        raise UserError(f"The config node {node} in {method.home} is another method's: give it another name.")
    return node


def _undo(method, trainers, nodes, defaults):
    """Leave nothing of a folder that cannot be used."""
    for name in set(TRAINER_REGISTRY.registered_names()) - trainers:
        del TRAINER_REGISTRY._obj_map[name]
    for node in set(_C.TRAINER) - nodes:
        forget_node(node)
    _C.TRAINER.clear()
    _C.TRAINER.update(defaults)
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{method.folder}.")]:
        del sys.modules[name]


def _place_of(error, home):
    """File and line of the method's that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(os.path.join(home, ""))]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else home


def _words(error):
    if getattr(error, "for_user", False):
        return str(error).rstrip(".")
    text = error.msg if isinstance(error, SyntaxError) else error
    return f"{type(error).__name__}: {text}".rstrip(": .")
