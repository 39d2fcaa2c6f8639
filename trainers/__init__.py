"""The methods, one a file, and what they stand on."""

import torchvision_cpu  # noqa: F401  first: clip imports torchvision
