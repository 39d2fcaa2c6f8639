import pytest
import torch
from torch._utils import ExceptionWrapper

import dassl.utils.errors
import harness.errors
from dassl.utils import UserError
from harness.errors import user_error


def ours():
    raise UserError("image x.png: cannot be decoded")


def a_library():
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=-1)


@pytest.mark.parametrize("fail, sentence", [(ours, "image x.png: cannot be decoded"), (a_library, None)])
def test_errors_from_a_loaders_worker(fail, sentence):
    """Which PyTorch raises again in the main process, with the worker's stack trace in the text."""
    try:
        fail()
    except ValueError:
        told = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(ValueError, match="worker") as error:
        told.reraise()
    assert user_error(error.value) == sentence


@pytest.mark.parametrize("module", [dassl.utils.errors, harness.errors])
def test_every_class_is_a_users_and_a_built_in(module):
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    assert len(classes) > 1
    for cls in classes:
        assert issubclass(cls, ValueError) and user_error(cls("one\n  sentence")) == "one sentence"


def test_a_bug_is_no_users_error():
    for error in (ValueError("x"), FileNotFoundError(2, "no such file"), KeyError("x"), MemoryError()):
        assert user_error(error) is None
