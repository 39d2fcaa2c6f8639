"""Folders outside this checkout that a variable names, several with ":" as in PYTHONPATH, each with a YAML file."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from .edited import check
from .errors import UserError


class Kind(NamedTuple):
    """A kind of such folders."""

    what: str  # "method"
    file: str  # "method.yaml"
    variable: str  # "METHOD_PATH"
    shape: dict  # of the file: key -> what `edited.check` takes for a shape
    needed: tuple[str, ...]  # keys that must be there

    def folders(self, path: str) -> list[str]:
        """The folders in a value of the variable, each once, absolute and without links."""
        parts = (os.path.expanduser(part) for part in path.split(os.pathsep) if part)
        return list(dict.fromkeys(map(os.path.realpath, parts)))

    def read(self, folder: str) -> dict:
        """What the file of a folder holds. Raises UserError unless its keys are known, of their shapes and complete."""
        if not os.path.isfile(os.path.join(folder, self.file)):
            raise UserError(
                f"{folder} is no folder of a {self.what}, as it has no {self.file}: correct {self.variable}."
            )
        from .yaml_file import read_config  # here, since without such a folder a script answers without YAML

        tree = read_config(os.path.join(folder, self.file))
        self.check_keys(folder, tree, self.shape, "it")
        try:
            check(tree, self.shape)
        except UserError as error:
            raise self.wrong(folder, error) from None
        for key in self.needed:
            if not tree.get(key):
                raise self.wrong(folder, f"it needs {key}")
        return tree

    def check_keys(self, folder: str, section: Iterable[str], known: Iterable[str], where: str) -> None:
        unknown = [key for key in section if key not in known]
        if unknown:
            raise self.wrong(folder, f"{where} has no key {unknown[0]}, only {', '.join(known)}")

    def wrong(self, folder: str, what) -> UserError:
        return UserError(f"{os.path.join(folder, self.file)} is no {self.what}: {what}.")

    def take(self, folder: str, what: str, name: str, taken: dict) -> None:
        """Enter a name with its folder in `taken`. Raises UserError if somebody has it."""
        if name in taken:
            raise self.wrong(folder, f"the {what} {name} is taken by {taken[name]}: choose another")
        taken[name] = folder
