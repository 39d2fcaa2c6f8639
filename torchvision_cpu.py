"""Let torchvision import beside a CPU-only PyTorch, and quickly.

torchvision's PyPI wheel is compiled for CUDA. Next to a CPU-only PyTorch its operator library does not load, and
`import torchvision` then fails where it registers fake kernels for `torchvision::nms` and `torchvision::qnms`,
which nobody has declared. Image transforms need neither, so declaring the two is enough.

`import torchvision` also imports its models, operators and data sets, and with them PyTorch's compiler, which takes
longer than PyTorch itself. These are imported when they are first used.

Import this module before torchvision, or before anything that imports it, such as clip.
"""

import importlib.machinery
import importlib.util
import os
import sys
import types

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _load_operators():
    """Load torchvision's operator library, as `import torchvision` does first. Nothing happens if that fails."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None:  # torchvision is not installed: its own import will say so
        return
    folder = os.path.dirname(spec.origin)
    finder = importlib.machinery.FileFinder(
        folder, (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    )
    library = finder.find_spec("_C")
    if library is not None:
        try:
            torch.ops.load_library(library.origin)
        except OSError:  # compiled for another PyTorch build
            pass


def _declare_missing():
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library


class _Later(types.ModuleType):
    """A module whose code runs at the first use of something in it; what Python's import sets is there before."""

    def __getattr__(self, name):
        if name.startswith("__"):  # anyone may look for these, in the middle of another import
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = types.ModuleType
        self.__spec__.loader.run(self)
        return getattr(self, name)


class _LaterLoader:
    def __init__(self, loader):
        self.run = loader.exec_module

    def create_module(self, spec):
        return _Later(spec.name)

    def exec_module(self, module):
        """Nothing yet."""


class _LaterFinder:
    def find_spec(self, name, path, target=None):
        if name not in ("torchvision.datasets", "torchvision.models", "torchvision.ops"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _LaterLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _LaterFinder())
_load_operators()
_LIBRARY = _declare_missing()  # the declarations live as long as this object
