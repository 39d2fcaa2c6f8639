"""Look classes up by the name that a config gives."""

import importlib
import pkgutil
import sys

from dassl.utils.errors import UserError
from dassl.utils.tools import check_availability


class TakenName(UserError, KeyError):
    """A name under which something else is registered."""

    __str__ = UserError.__str__  # KeyError shows quotes around it


def _file_of(obj):
    return getattr(sys.modules.get(obj.__module__), "__file__", None) or "code that was typed"


class Registry:
    """Objects by name; `@REGISTRY.register()` above a class or function adds it."""

    def __init__(self, name):
        self._name = name
        self._obj_map = {}

    def register(self, obj=None, force=False):
        """Add `obj` under its `__name__`. Raises KeyError, naming both files, if the name is taken, unless `force`."""
        if obj is None:
            return lambda decorated: self.register(decorated, force=force)
        name = obj.__name__
        if name in self._obj_map and not force:
            places = [f"{_file_of(each)} ({each.__module__})" for each in (self._obj_map[name], obj)]
            raise TakenName(f'The {self._name.lower()} "{name}" is in {" and in ".join(places)}: rename one of them.')
        self._obj_map[name] = obj
        return obj

    def get(self, name):
        """Return the object called `name`. Raises ValueError, with the nearest and all names, if none is."""
        check_availability(name, self.registered_names(), kind=self._name.lower())
        return self._obj_map[name]

    def registered_names(self):
        return list(self._obj_map)


def import_all(package):
    """Import everything directly below a package, so that each module or package registers what it defines."""
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
