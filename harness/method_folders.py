"""Methods that lie outside this checkout: each a folder that METHOD_PATH names (several with ":", as in PYTHONPATH).

    method.yaml      its row of the catalogue, the keys of `SHAPE`
    <any name>.py    its trainer, registered when it is imported; further modules, and tests (test_*.py)
    configs/*.yaml   its settings

Only method.yaml is read here, and the names of the files of code. own_methods.py imports those, for whoever trains or
loads a model.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterable

from .edited import SCALAR, shown
from .errors import UserError
from .method_code import ENDING, modules
from .own_folder import Kind

FILE = "method.yaml"
CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOADED = {"torch", "torchvision", "numpy", "PIL", "yacs", "yaml"}  # before any method is
PROTOCOLS = ("base2new", "xd", "few_shot")  # what configs and methods may be for: those of layout.PARTS
CONFIG = {"file": str, "protocol": str, "datasets": [str], "shots": [int]}  # of `configs`, a line
SHAPE = {
    "name": str,  # what it is called in commands, and the package that its code is imported as
    "trainer": str,
    "paper": str,
    "configs": [CONFIG],
    **dict.fromkeys(("learns", "transductive", "told_half"), bool),
    "protocols": [str],
    **dict.fromkeys(("bound", "reads", "chosen_by"), str),
    "defaults": {str: (*SCALAR, list, dict)},  # of a trainer that was written for Dassl, and so are the next two
    "class": str,
    "packages": [str],
}
_KIND = Kind("method", FILE, "METHOD_PATH", SHAPE, ("name", "trainer", "paper", "configs"))
_wrong = _KIND.wrong


def read(path: str, taken: Iterable[tuple[str, str]]) -> list[dict]:
    """The rows of the folders in `path`, a value of METHOD_PATH, as arguments of `catalogue.Method`.

    A config is (file, protocol, data sets, shots). taken: (name, trainer) of the methods that there are already.
    Raises UserError, naming the file and what is wrong in it.
    """
    names, trainers = ({each[i]: "this repository" for each in taken} for i in (0, 1))
    rows = []
    for folder in _KIND.folders(path):
        row = _row(folder)
        _KIND.take(folder, "name", row["folder"], names)
        _KIND.take(folder, "trainer", row["trainer"], trainers)
        rows.append(row)
    return rows


def _row(folder):
    tree = _KIND.read(folder)
    _check_names(folder, tree["name"], tree["trainer"])
    _check_protocols(folder, "protocols", tree.get("protocols", ()))
    if tree.get("protocols") and not tree.get("bound"):
        raise _wrong(folder, "where protocols leaves some out, bound says in a sentence why")
    _check_configs(folder, tree["configs"])
    _check_code(folder, tree["name"])
    _check_packages(folder, tree)
    kept = ("trainer", "paper", "learns", "transductive", "told_half", "bound", "reads", "chosen_by")
    return {
        **{key: tree[key] for key in kept if key in tree},
        "folder": tree["name"],
        "protocols": " ".join(tree.get("protocols", ())),
        "configs": [_config(line) for line in tree["configs"]],
        "home": folder,
        "defaults": _defaults(folder, tree["defaults"]) if "defaults" in tree else None,
        "class_name": tree.get("class", ""),
        "packages": tuple(tree.get("packages", ())),
    }


def _config(line):
    shots = " ".join(map(str, line.get("shots", ())))
    return line["file"], line.get("protocol", ""), " ".join(line.get("datasets", ())), shots


def _check_names(folder, name, trainer):
    if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
        raise _wrong(folder, f"name is {name!r}, but must be small letters, digits and _, such as my_method")
    if not re.fullmatch(r"[A-Za-z]\w*", trainer, re.ASCII):
        raise _wrong(folder, f"trainer is {trainer!r}, but must be the name of its class, such as MyMethod")
    other = _elsewhere(name, folder)
    if other:
        raise _wrong(folder, f"the name {name} is that of a package, {other}: choose another")


def _check_protocols(folder, key, names):
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise _wrong(folder, f"{key} can be {', '.join(PROTOCOLS)}, but not {unknown[0]}")


def _check_configs(folder, lines):
    for number, line in enumerate(lines, start=1):
        where = f"configs, number {number},"
        _KIND.check_keys(folder, line, CONFIG, where)
        path = os.path.join(folder, "configs", f"{line.get('file')}.yaml")
        if "file" not in line or os.path.basename(line["file"]) != line["file"]:
            raise _wrong(folder, f"{where} needs file, the name of one in configs/ without .yaml")
        if not os.path.isfile(path):
            raise _wrong(folder, f"{where} names {path}, which does not exist")
        _check_protocols(folder, f"{where} protocol", [line["protocol"]] if "protocol" in line else [])
    if len(lines[-1]) > 1:
        raise _wrong(folder, "the last of configs must be for all runs that no other is for: give it file alone")


def _check_code(folder, name):
    found = modules(folder)
    if not found:
        raise _wrong(folder, f"there is no file of Python beside it with the trainer, such as {name}.py")
    for file in found:
        other = _elsewhere(file[: -len(ENDING)], folder)
        if other:
            raise UserError(
                f"{os.path.join(folder, file)} has the name of another module, {other}, which an import would mean: "
                "rename it."
            )


def _check_packages(folder, tree):
    for key in ("class", "packages"):
        if key in tree and "defaults" not in tree:
            raise _wrong(folder, f"{key} is for a trainer that was written for Dassl: name its config keys as defaults")
    for name in tree.get("packages", ()):
        if not (name.isidentifier() and os.path.isdir(os.path.join(folder, name))):
            raise _wrong(folder, f"packages names {name!r}, which is no folder of Python code in it")
        ours = any(os.path.exists(os.path.join(CHECKOUT, name + end)) for end in ("", ".py"))
        if ours or name in LOADED or name in sys.stdlib_module_names:
            raise _wrong(
                folder, f"packages names {name}, which would take the place of what the harness itself imports"
            )


def _defaults(folder, tree):
    """(dotted key, value) of each, which must be values that a config has: numbers, text, lists."""
    from .config import flatten, literal  # here, since other methods' rows are read without yacs

    found = []
    for key, value in flatten(tree):
        kept = tuple(value) if isinstance(value, list) else literal(value)
        nested = isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value)
        if nested or kept is None or "." not in key:
            raise _wrong(folder, f"defaults.{key} is {shown(value)}, but must be a value in a section, such as TRAINER")
        found.append((key, kept))
    return tuple(found)


def _elsewhere(name, folder) -> str:
    """Where a module of that name lies that is not of this folder; "" if there is none."""
    if not name.isidentifier():
        return ""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    own = [place for place in places if f"{os.path.realpath(place)}/".startswith(f"{folder}/")]
    return "" if own or not places else places[0]
