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
from collections.abc import Iterable

from .edited import check
from .errors import UserError
from .method_code import ENDING, modules
from .yaml_file import read_config

VARIABLE = "METHOD_PATH"
FILE = "method.yaml"
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
}
_NEEDED = ("name", "trainer", "paper", "configs")


def read(path: str, taken: Iterable[tuple[str, str]]) -> list[dict]:
    """The rows of the folders in `path`, a value of METHOD_PATH, as arguments of `catalogue.Method`.

    A config is (file, protocol, data sets, shots). taken: (name, trainer) of the methods that there are already.
    Raises UserError, naming the file and what is wrong in it.
    """
    folders = dict.fromkeys(os.path.realpath(os.path.expanduser(part)) for part in path.split(os.pathsep) if part)
    names, trainers = ({each[i]: "this repository" for each in taken} for i in (0, 1))
    rows = []
    for folder in folders:
        row = _row(folder)
        for key, there in (("folder", names), ("trainer", trainers)):
            if row[key] in there:
                what = "name" if key == "folder" else key
                raise _wrong(folder, f"the {what} {row[key]} is taken by {there[row[key]]}: choose another")
            there[row[key]] = folder
        rows.append(row)
    return rows


def _wrong(folder, what):
    return UserError(f"{os.path.join(folder, FILE)} is no method: {what}.")


def _row(folder):
    if not os.path.isfile(os.path.join(folder, FILE)):
        raise UserError(f"{folder} is no folder of a method, as it has no {FILE}: correct {VARIABLE}.")
    tree = read_config(os.path.join(folder, FILE))
    _check_keys(folder, tree, SHAPE, "it")
    try:
        check(tree, SHAPE)
    except UserError as error:
        raise _wrong(folder, error) from None
    for key in _NEEDED:
        if not tree.get(key):
            raise _wrong(folder, f"it needs {key}")
    _check_names(folder, tree["name"], tree["trainer"])
    _check_protocols(folder, "protocols", tree.get("protocols", ()))
    if tree.get("protocols") and not tree.get("bound"):
        raise _wrong(folder, "where protocols leaves some out, bound says in a sentence why")
    _check_configs(folder, tree["configs"])
    _check_code(folder, tree["name"])
    kept = ("trainer", "paper", "learns", "transductive", "told_half", "bound", "reads", "chosen_by")
    return {
        **{key: tree[key] for key in kept if key in tree},
        "folder": tree["name"],
        "protocols": " ".join(tree.get("protocols", ())),
        "configs": [_config(line) for line in tree["configs"]],
        "home": folder,
    }


def _config(line):
    shots = " ".join(map(str, line.get("shots", ())))
    return line["file"], line.get("protocol", ""), " ".join(line.get("datasets", ())), shots


def _check_keys(folder, section, known, where):
    unknown = [key for key in section if key not in known]
    if unknown:
        raise _wrong(folder, f"{where} has no key {unknown[0]}, only {', '.join(known)}")


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
        _check_keys(folder, line, CONFIG, where)
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
