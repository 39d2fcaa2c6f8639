import pytest

from benchmarks import data, step


@pytest.fixture
def one_process(monkeypatch):
    """Everything in this process, which has PyTorch loaded already."""
    for subject in (data, step):
        monkeypatch.setattr(subject, "in_fresh_process", lambda function, *args: function(*args))
