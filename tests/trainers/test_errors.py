"""What is meant for users is told from a bug by its class, wherever it was raised."""

import ast
import pickle

import pytest
from torch._utils import ExceptionWrapper

from tests.conftest import REPOSITORY
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


def test_up_to():
    assert [errors.up_to(n) for n in (1, 2)] == ["1", "1 to 2"]


# Caught again before a user could see them, or a bug of whoever calls
NOT_FOR_USERS = {
    "random_state.py": 2,
    "clip_loader.py": 7,
    "encoders.py": 1,
    "feature_store.py": 1,
    "mutual_information.py": 1,
    "open_clip_loader.py": 1,
    "plain_pickle.py": 7,
    "precision.py": 1,
    "torch_file.py": 1,
    "transformers_loader.py": 1,
}


def test_no_other_error_is_raised_for_users():
    """A bare ValueError would be shown as a bug, with a stack trace."""
    bare = {}
    for path in (REPOSITORY / "trainers").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(getattr(node, "exc", None), "func", None), "id", "")
            if name in ("ValueError", "FileNotFoundError", "FloatingPointError", "RuntimeError", "OSError"):
                bare[path.name] = bare.get(path.name, 0) + 1
    assert bare == NOT_FOR_USERS
