"""Use what was trained: classify pictures, export, see what prompts have learned."""

import torchvision_cpu  # noqa: F401  first: lets torchvision import beside a CPU-only PyTorch
