"""The battery for a method outside this checkout, as tests of a file that lies in its folder."""

import importlib
import os
import sys
from unittest.mock import patch

import own_methods
from dassl.engine import TRAINER_REGISTRY
from harness.catalogue import with_folders
from tests.trainers import methods


def battery(file: str, options: tuple = (), **row) -> dict:
    """{name: test or fixture} of test_battery.py, for the method in whose folder `file` lies.

    options, row: as of `methods.Method`.
    """
    method = with_folders(os.path.dirname(os.path.abspath(file)))[-1]
    own_methods.load_method(method)
    node = TRAINER_REGISTRY.get(method.trainer).config_node
    one = methods.Method(method.trainer, node, options, configs=method.config_folder, **row)
    sys.modules.pop("tests.trainers.test_battery", None)  # it may be there for another method
    with patch.multiple(methods, METHODS={method.folder: one}, often=lambda keys, quick=(): list(keys)):
        made = vars(importlib.import_module("tests.trainers.test_battery"))
    return {name: value for name, value in made.items() if not name.startswith("__")}
