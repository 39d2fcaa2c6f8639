"""What is meant for users is told from a bug by its class, wherever it was raised."""

import pickle

import pytest
from torch._utils import ExceptionWrapper

from trainers import errors
from trainers.files import torch_file

CLASSES = [errors.UserError, errors.MissingFile, errors.NotFinite, torch_file.DamagedFile]


@pytest.mark.parametrize("error", CLASSES)
def test_they_are_built_from_a_sentence(error):
    raised = error("Mend it.")
    assert str(raised) == str(pickle.loads(pickle.dumps(raised))) == "Mend it."
    assert raised.for_user and isinstance(raised, ValueError)


@pytest.mark.parametrize("error", CLASSES)
def test_they_outlive_a_data_loaders_worker(error):
    try:
        raise error("Mend it.")
    except ValueError as raised:
        wrapped = ExceptionWrapper(where="in a worker")
        del raised
    with pytest.raises(error, match="Mend it."):
        wrapped.reraise()


def test_also_of_the_kind_that_python_knows():
    assert issubclass(errors.MissingFile, FileNotFoundError) and issubclass(errors.NotFinite, FloatingPointError)
