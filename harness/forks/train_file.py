"""A fork's train.py, read as text: what it imports, what it does to the config, and where lines of ours can stand."""

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from ..errors import UserError
from . import PACKAGE

IMPORT = f"import trainers.{PACKAGE}"
RESTORE = f"trainers.{PACKAGE}.keys.restore_nodes"


class NoPlace(UserError):
    """A fork that has to be changed by hand."""


class Line(NamedTuple):
    """A line of ours in train.py."""

    after: int  # number, from 1, of the line that it follows
    text: str  # without the line's end


class TrainFile:
    """Raises NoPlace if `content` is no Python, and where no line can be put."""

    def __init__(self, content: bytes, path: str):
        self.content, self.path = content, path
        try:
            self.tree = ast.parse(content)
        except (SyntaxError, ValueError) as error:
            raise NoPlace(f"{path} is no Python that can be read ({error}): is it train.py of a fork?") from error

    # ---- what it does --------------------------------------------------------------------------------------

    def is_of_a_fork(self) -> bool:
        """Whether it builds a Dassl trainer."""
        called = {name for node in ast.walk(self.tree) if isinstance(node, ast.Call) for name in _names(node.func)[-1:]}
        return {"get_cfg_default", "build_trainer"} <= called

    def imports_ours(self) -> bool:
        return any(PACKAGE in name.split(".") for node in ast.walk(self.tree) for name in _imported(node))

    def nodes(self) -> set[str]:
        """Names of the config nodes below TRAINER that it makes."""
        chains = (names for names, value in self._assignments(ast.walk(self.tree)) if isinstance(value, ast.Call))
        return {names[2] for names in chains if len(names) == 3 and names[1] == "TRAINER"}

    def defaults(self) -> dict[str, Any]:
        """Dotted key -> value, of the keys outside TRAINER that its functions set to a constant for every trainer."""
        found = {}
        for function in self.tree.body:
            if isinstance(function, ast.FunctionDef):
                for names, value in self._assignments(function.body):
                    if len(names) > 1 and names[1] != "TRAINER":
                        try:
                            found[".".join(names[1:])] = ast.literal_eval(value)
                        except ValueError:
                            pass
        return found

    def refuse_own_trainers_alone(self) -> None:
        """Raise NoPlace if it does something by the trainer's name, or the pairs, that ends on others than its own.

        So does a call of the trainer with an argument that the original Dassl's trainers do not take. What stands below
        an `if` that asks for the name is its own trainers'.
        """
        for node, why in _for_own_trainers(self.tree):
            raise NoPlace(
                f"{self.path}, line {node.lineno}, {why}, which may end on a trainer that it does not know: put that "
                "below an `if` that asks whether cfg.TRAINER.NAME is one of its own, then try again."
            )

    @staticmethod
    def _assignments(nodes):
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield _names(target), node.value

    # ---- where lines of ours stand -------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """What to add, from top to bottom."""
        restore = self._restore()
        return [Line(self._last_import(), IMPORT), *([restore] if restore else [])]

    def _last_import(self):
        rows = [node.end_lineno for node in self.tree.body if any(map(_is_trainers, _imported(node)))]
        if not rows:
            raise NoPlace(f"{self.path} imports no trainers at its top level, beside which ours could be imported.")
        return rows[-1]

    def _restore(self) -> Optional[Line]:
        """The call that puts our nodes back, if something takes nodes out of a config's TRAINER."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        cleaners = {"clean_cfg", *(f.name for f in functions if any(map(_removes_nodes, ast.walk(f))))}
        if not self._cleans(self.tree, cleaners):
            return None
        for function in functions:
            made = _config_of(function)
            if made is None:
                continue
            merges = [i for i, node in enumerate(function.body) if _calls(node, {"merge_from_file", "merge_from_list"})]
            cleans = [i for i, node in enumerate(function.body) if self._cleans(node, cleaners)]
            if merges and cleans and cleans[-1] < merges[0]:
                before = function.body[merges[0] - 1]
                return Line(before.end_lineno, f"{' ' * before.col_offset}{RESTORE}({made})")
        raise NoPlace(
            f"{self.path} removes config nodes (clean_cfg), and not in a function that then merges config files, where "
            f"{RESTORE}(cfg) could be called between."
        )

    def _cleans(self, node, cleaners):
        """Whether a statement calls a cleaner, or removes nodes itself."""
        if isinstance(node, ast.Module):
            inside = [child for outer in node.body for child in getattr(outer, "body", [outer])]
            return any(self._cleans(child, cleaners) for child in inside)
        return _calls(node, cleaners) or any(map(_removes_nodes, ast.walk(node)))

    # ---- adding and taking away ----------------------------------------------------------------------------

    def with_lines(self, lines: list[Line]) -> bytes:
        """The file with our lines in it, each ended as the file's first. Raises NoPlace if it would mean more."""
        rows = _split(self.content)
        end = rows[0][len(rows[0].rstrip(b"\r\n")) :] or b"\n"
        for line in reversed(lines):
            row, text = rows[line.after - 1], line.text.encode()
            # where the last row has no line end, ours becomes the last and has none either
            rows[line.after - 1 : line.after] = [row, text + end] if row.endswith(b"\n") else [row + end, text]
        changed = b"".join(rows)
        self._check(changed, {ast.dump(ast.parse(line.text.strip()).body[0]) for line in lines})
        return changed

    def _check(self, changed, ours):
        try:
            tree = ast.parse(changed)
        except SyntaxError:
            tree = ast.Module()
        for node in ast.walk(tree):
            if isinstance(getattr(node, "body", None), list):
                node.body = [child for child in node.body if ast.dump(child) not in ours]
        if ast.dump(tree) != ast.dump(self.tree):
            raise NoPlace(f"{self.path} is laid out in a way in which no line can be added safely.")


def without_lines(content: bytes, texts: list[str]) -> Optional[bytes]:
    """`content` without our lines; None if one of them is not there once, as it was written."""
    rows = _split(content)
    for text in texts:
        found = [i for i, row in enumerate(rows) if row.rstrip(b"\r\n") == text.encode()]
        if len(found) != 1:
            return None
        i = found[0]
        if not rows[i].endswith(b"\n") and i:  # the last line again has no end
            rows[i - 1] = rows[i - 1].rstrip(b"\r\n")
        del rows[i]
    return b"".join(rows)


def _split(content):
    return re.findall(rb"[^\n]*\n|[^\n]+", content)


def _imported(node) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module


def _is_trainers(name):
    return name.split(".")[0] == "trainers"


def _names(node) -> list[str]:
    """a.b.c -> ["a", "b", "c"]; [] for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = _names(node.value)
        return [*inner, node.attr] if inner else []
    return []


def _calls(node, functions):
    calls = (n for n in ast.walk(node) if isinstance(n, ast.Call))
    return any(functions & {getattr(n.func, "attr", getattr(n.func, "id", None))} for n in calls)


def _removes_nodes(node):
    """Whether this is cfg.TRAINER.pop(...) or del cfg.TRAINER..."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("pop", "popitem", "clear") and _names(node.func.value)[-1:] == ["TRAINER"]
    if isinstance(node, ast.Delete):
        return any(isinstance(n, ast.Attribute) and n.attr == "TRAINER" for n in ast.walk(node))
    return False


def _config_of(function):
    """Name of the variable that a function puts get_cfg_default() into; None if it does not call it."""
    for node in function.body:
        if isinstance(node, ast.Assign) and _calls(node.value, {"get_cfg_default"}):
            return _names(node.targets[0])[0] if _names(node.targets[0]) else None
    return None


_SHOWING = {"print", "format", "merge_from_list", "clean_cfg"}  # calls that take a name or pairs, whatever they are
_TAKEN = {"train": (), "test": ("split",), "load_model": ("directory", "epoch")}  # of the original Dassl's trainers


def _for_own_trainers(node) -> Iterator[tuple[ast.AST, str]]:
    """(statement, what it does) where code below `node` depends on the trainer's name, or on pairs, and may end."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and any(map(_is_name, ast.walk(child.test))):
            if any(isinstance(n, (ast.Raise, ast.Assert)) for n in ast.walk(child)) and _compares(child.test):
                yield child, "tests the trainer's name"
            for branch in child.orelse if _compares(child.test) else child.body + child.orelse:
                yield from _for_own_trainers(ast.Module(body=[branch], type_ignores=[]))
        elif isinstance(child, ast.Call) and _calls(ast.Expr(value=child), _SHOWING) and not child.keywords:
            for argument in child.args:
                if not _names(argument):
                    yield from _for_own_trainers(ast.Module(body=[ast.Expr(value=argument)], type_ignores=[]))
        elif _foreign_argument(child):
            yield child, f"calls the trainer with {_foreign_argument(child)}"
        elif _is_name(child):
            if not isinstance(node, ast.Assign):
                yield child, "uses the trainer's name"
        elif _names(child)[-1:] == ["opts"] and isinstance(child.ctx, ast.Load):
            yield child, "reads the KEY VALUE pairs (args.opts)"
        else:
            yield from _for_own_trainers(child)


def _foreign_argument(node) -> str:
    """The first argument by name that this call gives to a trainer and that those of the original Dassl do not take."""
    call = _names(node.func) if isinstance(node, ast.Call) else []
    if len(call) != 2 or call[0] != "trainer" or call[1] not in _TAKEN:
        return ""
    return next((f"{each.arg}=" for each in node.keywords if each.arg not in _TAKEN[call[1]]), "")


def _is_name(node):
    """Whether this reads cfg.TRAINER.NAME or args.trainer."""
    names = _names(node)
    return (names[-2:] == ["TRAINER", "NAME"] or names == ["args", "trainer"]) and isinstance(node.ctx, ast.Load)


def _compares(test):
    return any(isinstance(node, (ast.Compare, ast.Call)) for node in ast.walk(test))
