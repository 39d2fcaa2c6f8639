import torchvision_cpu  # noqa: F401  first: clip imports torchvision
