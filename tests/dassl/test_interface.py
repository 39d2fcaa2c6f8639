"""dassl/README.md lists what is promised of Dassl's interface; all of it is there, with the parameters that it says."""

import importlib
import inspect
import re

import pytest

from dassl.engine import build_trainer
from tests.conftest import REPOSITORY

LIST = re.search(r"^```\n(.*?)^```", (REPOSITORY / "dassl/README.md").read_text(), re.DOTALL | re.MULTILINE)[1]
SECTIONS = {
    title: re.findall(r"^ {4}(.+)$", lines, re.MULTILINE)
    for title, lines in re.findall(r"^(\S.*)\n((?: {4}.+\n)+)", LIST, re.MULTILINE)
}
MODULES = [title for title in SECTIONS if title.startswith("dassl")]


def parameters_of(thing):
    """The signature without types and, for a method, self."""
    signature = inspect.signature(thing)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


@pytest.mark.parametrize(("module", "promise"), [(m, promise) for m in MODULES for promise in SECTIONS[m]])
def test_what_can_be_imported(module, promise):
    names, parameters = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", promise).groups()
    thing = importlib.import_module(module)
    for name in names.split("."):
        thing = getattr(thing, name)
    if parameters is not None:
        assert parameters_of(thing) == inspect.signature(eval(f"lambda {parameters}: None"))


def test_attributes(cfg):
    trainer = build_trainer(cfg)
    batch = next(iter(trainer.train_loader_x))
    for title, thing in {"a trainer that has been built": trainer, "a data set": trainer.dm.dataset}.items():
        assert [name for name in SECTIONS[title] if not hasattr(thing, name)] == []
    assert SECTIONS["a batch"] == sorted(batch, key=SECTIONS["a batch"].index)
    trainer.train()
    assert [name for name in SECTIONS["a trainer that has been trained"] if not hasattr(trainer, name)] == []


def test_the_whole_list_is_read():
    assert sum(map(len, SECTIONS.values())) + len(SECTIONS) == len(LIST.splitlines()) > 100
