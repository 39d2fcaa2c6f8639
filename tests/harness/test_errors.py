import pytest
import torch
from torch import nn

from harness.errors import user_error


class Failing(torch.utils.data.Dataset):
    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.fail()


def ours():
    raise ValueError("image x.png: cannot be decoded")


def a_library():
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=-1)


@pytest.mark.parametrize("fail, sentence", [(ours, "image x.png: cannot be decoded"), (a_library, None)])
def test_errors_from_a_loaders_worker(fail, sentence):
    loader = torch.utils.data.DataLoader(Failing(fail), num_workers=1)
    with pytest.raises(ValueError, match="worker") as error:
        next(iter(loader))
    assert user_error(error.value) == sentence
