"""What goes into a fork: the package of trainers, their configs and scripts, as path below the fork -> bytes."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple, Optional

from ..catalogue import OURS, Method
from ..errors import UserError
from ..layout import PARTS
from ..method_code import ENDING, code_below, modules
from ..running.protocols import Step, steps_of
from . import PACKAGE
from .scripts import script

ROOT = Path(__file__).resolve().parents[2]
FOLDER = f"trainers/{PACKAGE}"


class Added(NamedTuple):
    """A method, and the name that the fork's registry is to have it under."""

    method: Method
    name: str

    @property
    def renamed(self) -> bool:
        return self.name != self.method.trainer

    @property
    def folder(self) -> str:
        """scripts/<folder>/ in the fork."""
        return self.name.lower() if self.renamed or self.method.home else self.method.folder

    @property
    def node(self) -> str:
        """Its config node in the fork."""
        return self.name.upper() if self.renamed else node_of(self.method)


def node_of(method: Method) -> str:
    """The config node that a method's file names."""
    if method.defaults is not None:
        raise UserError(
            f"{method.trainer} in {method.home} was written for Dassl, and needs nothing of this project: copy its "
            "files into the fork, and its defaults into extend_cfg of train.py."
        )
    found = re.search(r'^    config_node = "(\w+)"$', "\n".join(_code(method).values()), re.MULTILINE)
    if not found:
        raise UserError(f'The code of {method.trainer} in {method.home} has no line config_node = "...": add it.')
    return found[1]


def _code(method) -> dict[str, str]:
    """Path below trainers/ -> text, of the files of a method; those of a folder elsewhere become a package."""
    if not method.home:
        return {f"{method.folder}.py": (ROOT / f"trainers/{method.folder}.py").read_text(encoding="utf-8")}
    if any((ROOT / "trainers" / name).exists() for name in (method.folder, f"{method.folder}.py")):
        raise UserError(f"The method {method.folder} in {method.home} has the name of a part of trainers/: rename it.")
    home = Path(method.home)
    texts = {place: (home / place).read_text(encoding="utf-8") for place in code_below(method.home)}
    imports = ", ".join(name[: -len(ENDING)] for name in modules(method.home))
    texts["__init__.py"] = f"{texts.get('__init__.py', '')}\nfrom . import {imports}  # noqa: F401\n".lstrip()
    return {f"{method.folder}/{place}": _relative(text, home / place, place) for place, text in texts.items()}


def _relative(text, path, place):
    """Code in which what comes from trainers/ comes from the package that this is in a fork."""
    if re.search(r"^\s*import trainers\b", text, re.MULTILINE):
        raise UserError(f"{path} has `import trainers`, which is the fork's own there: write from trainers... import.")
    above = "." * (2 + place.count("/"))
    text = re.sub(r"^(\s*from )trainers\.", rf"\1{above}", text, flags=re.MULTILINE)
    return re.sub(r"^(\s*from )trainers(?= import )", rf"\1{above}", text, flags=re.MULTILINE)


def files(added: list[Added], changed_defaults: dict[str, Any], dataset_configs: str) -> dict[str, bytes]:
    """All files of some methods.

    changed_defaults: those of the fork that are not Dassl's, see there; dataset_configs: see tree.py.
    """
    texts = {**_package(added)}
    for each in added:
        for path in sorted((ROOT / each.method.config_folder).glob("*.yaml")):
            if not path.stem.startswith("shapes"):  # its data set and its CLIP are here alone
                text = renamed(path.read_text(encoding="utf-8"), each)
                texts[f"configs/trainers/{each.name}/{path.name}"] = _complete(text, changed_defaults)
        for step in steps_in_a_fork(each.method):
            path = f"scripts/{each.folder}/{step.script}.sh"
            texts[path] = script(each.method, step, each.folder, each.name, dataset_configs)
    return {path: text.encode() for path, text in texts.items()}


def steps_in_a_fork(method: Method) -> list[Step]:
    """Those of a method that have a script there: a joint test's numbers are taken by our train.py."""
    return [step for step in steps_of(method) if PARTS[step.folder].name != "joint"]


# ---- the package -----------------------------------------------------------------------------------------------

_INIT = '''\
"""{names}: prompt tuning of CLIP, added by tools/add_to_fork.py, which also takes them away (--remove).

Importing this package registers the trainers with Dassl and adds their config nodes to its defaults.
"""

from . import {modules}  # noqa: F401
'''


def _package(added):
    """trainers/ as it is here, but for the methods that are not asked for, under an __init__.py of its own."""
    asked = {f"{each.method.folder}.py" for each in added if not each.method.home}
    places = (_files_of_trainers() | asked) - ({f"{method.folder}.py" for method in OURS} - asked)
    texts = {place: (ROOT / "trainers" / place).read_text(encoding="utf-8") for place in sorted(places)}
    for each in added:
        texts.update(_code(each.method) if each.method.home else {})
        texts = {place: renamed(text, each) for place, text in texts.items()}
    texts = {f"{FOLDER}/{place}": text for place, text in texts.items()}
    names = " and ".join(filter(None, [", ".join(each.name for each in added[:-1]), added[-1].name]))
    imports = ", ".join(["base", *(each.method.folder for each in added)])
    texts[f"{FOLDER}/__init__.py"] = _INIT.format(names=names, modules=imports)
    texts[f"{FOLDER}/LICENSE"] = (ROOT / "LICENSE").read_text(encoding="utf-8")
    return texts


def _files_of_trainers():
    """Paths below trainers/ of the files that git tracks there: a user's own scratch file is not for a fork.

    Of all files where git tracks none, as in a checkout that was downloaded as an archive.
    """
    folder = ROOT / "trainers"
    there = {path.relative_to(folder).as_posix() for path in folder.glob("**/*.py")}
    try:
        listed = subprocess.run(["git", "-C", str(folder), "ls-files", "-z"], capture_output=True, text=True).stdout
    except OSError:  # there is no git
        listed = ""
    return there & set(listed.split("\0")) or there


def renamed(text: str, each: Added) -> str:
    """Code or config with the method's class and config node under their names in `each`."""
    if not each.renamed:
        return text
    trainer, node = each.method.trainer, node_of(each.method)
    text = re.sub(rf"^class {trainer}(?=\(\w+\):$)", f"class {each.name}", text, flags=re.M)
    text = re.sub(rf"\bTRAINER\.{node}\b", f"TRAINER.{each.node}", text)
    text = re.sub(rf'^(add_defaults\(|    config_node = )"{node}"', rf'\1"{each.node}"', text, flags=re.M)
    return re.sub(rf"^(TRAINER:\n  ){node}:", rf"\1{each.node}:", text, flags=re.M)


# ---- configs ---------------------------------------------------------------------------------------------------


_OF_A_RUN = ("DATASET.", "OUTPUT_DIR", "RESUME", "SEED", "USE_CUDA", "VERBOSE", "VERSION")


def changed_defaults(dassl: Optional[Path], set_by_train: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (Dassl's default, the fork's), of the keys that make a number and are others in the fork.

    dassl: the package that the fork runs on, None where it was not found; set_by_train: for every trainer, by train.py.
    """
    ours = dassl_defaults(ROOT / "dassl")
    of_dassl = dassl_defaults(dassl) if dassl else {}
    theirs = {key: value for key, value in of_dassl.items() if not key.startswith(_OF_A_RUN)}
    return {
        key: (ours[key], value)
        for key, value in {**theirs, **set_by_train}.items()
        if key in ours and _as_list(ours[key]) != _as_list(value)
    }


def _as_list(value):
    return list(value) if isinstance(value, tuple) else value


def _complete(text, changed):
    """The config, which also states those keys that it left to Dassl's default and that the fork changes."""
    stated = _keys(text)
    for key, (ours, _) in changed.items():
        if key not in stated:
            text = _state(text, key, ours)
    return text


def dassl_defaults(dassl: Path) -> dict[str, Any]:
    """Dotted key -> value, of the defaults of a Dassl (its package's folder) that are constants; {} if unreadable."""
    found = {}
    try:
        tree = ast.parse((dassl / "config/defaults.py").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("_C."):
            try:
                found[ast.unparse(node.targets[0])[3:]] = ast.literal_eval(node.value)
            except ValueError:
                pass
    return found


def _keys(text):
    """Dotted key or section -> number of its line, of a config of ours: two spaces a level, one key a line."""
    found, above = {}, []
    for number, line in enumerate(text.splitlines()):
        match = re.match(r"((?:  )*)(\w+):", line)
        if match:
            above = [*above[: len(match[1]) // 2], match[2]]
            found[".".join(above)] = number
    return found


def _state(text, key, value):
    """The config with a line that sets `key`, in the innermost of its sections that is there."""
    stated, parts, lines = _keys(text), key.split("."), text.splitlines()
    known = max((n for n in range(len(parts)) if ".".join(parts[:n]) in stated), default=0)
    new = [f"{'  ' * n}{parts[n]}:" for n in range(known, len(parts))]
    new[-1] += f" {_as_list(value)!r}  # Dassl's default, which this fork changes"
    at = stated[".".join(parts[:known])] + 1 if known else len(lines)
    return "\n".join([*lines[:at], *([] if known else [""]), *new, *lines[at:]]) + "\n"
