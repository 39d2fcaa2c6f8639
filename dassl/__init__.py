"""A compact runtime with the API of Dassl (github.com/KaiyangZhou/Dassl.pytorch, version 0.6.3).

Written from scratch for current Python and PyTorch. It holds what prompt learning on CLIP uses of Dassl,
under the same names: config keys and defaults, log lines, learning-rate sequences, few-shot sampling and
checkpoint layout. `docs/decisions.md` lists where it differs on purpose.
"""

import contextlib

with contextlib.suppress(ModuleNotFoundError):  # of this folder alone
    import torchvision_cpu  # noqa: F401  before anything imports torchvision
