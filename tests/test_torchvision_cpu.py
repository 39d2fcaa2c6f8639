"""torchvision beside a CPU-only PyTorch, and no more of it than is used; each in a fresh process."""

import pytest

from tests.conftest import python


def run(code):
    return python(f"import sys, torchvision_cpu, torchvision\n{code}").split()


def test_transforms_come_without_models():
    """Nor does a look at a module load it, as `inspect` looks at all modules, in the middle of other imports."""
    code = "import torchvision.transforms; from torchvision.datasets.folder import IMG_EXTENSIONS; "
    code += "print(*(hasattr(torchvision.models, name) for name in ('__file__', '__wrapped__')), *sys.modules)"
    first, second, *loaded = run(code)
    assert (first, second) == ("True", "False")
    assert "torchvision.transforms.functional" in loaded and "torchvision.models" in loaded
    assert not {"torchvision.models.resnet", "torchvision.datasets.cifar", "torch._dynamo"} & set(loaded)


@pytest.mark.long
def test_the_rest_is_there_when_it_is_used():
    code = "from torchvision.ops import nms; print(nms.__name__, torchvision.models.resnet18.__name__)"
    code += "; print(hasattr(torchvision.datasets, 'NoSuch'), torchvision.datasets.CIFAR10.__name__)"
    assert run(code) == ["nms", "resnet18", "False", "CIFAR10"]
    assert run("import torchvision.models.resnet; print(torchvision.models.vit_b_16.__name__)") == ["vit_b_16"]
