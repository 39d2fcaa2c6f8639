import pytest
import torch
from torch import nn

import dassl.utils.errors
import harness.errors
from dassl.utils import UserError
from harness.errors import user_error


class Failing(torch.utils.data.Dataset):
    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.fail()


def ours():
    raise UserError("image x.png: cannot be decoded")


def a_library():
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=-1)


@pytest.mark.parametrize("fail, sentence", [(ours, "image x.png: cannot be decoded"), (a_library, None)])
def test_errors_from_a_loaders_worker(fail, sentence):
    loader = torch.utils.data.DataLoader(Failing(fail), num_workers=1)
    with pytest.raises(ValueError, match="worker") as error:
        next(iter(loader))
    assert user_error(error.value) == sentence


@pytest.mark.parametrize("module", [dassl.utils.errors, harness.errors])
def test_every_class_is_a_users_and_a_built_in(module):
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    assert len(classes) > 1
    for cls in classes:
        assert issubclass(cls, ValueError) and user_error(cls("one\n  sentence")) == "one sentence"


def test_a_bug_is_no_users_error():
    """Also where the failing line begins with raise, as a library's does."""

    def ours(what):
        raise what

    for error in (ValueError("x"), FileNotFoundError(2, "no such file"), KeyError("x"), MemoryError()):
        with pytest.raises(type(error)) as raised:
            ours(error)
        assert user_error(raised.value) is None
