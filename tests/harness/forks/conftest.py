import pytest

from tests.harness.forks.trees import coop


@pytest.fixture
def fork(tmp_path):
    return coop(tmp_path / "CoOp")
