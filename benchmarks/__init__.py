"""What things cost, one file a subject: `add_arguments(parser)` and `measure(args)`, which returns a `table.Table`."""

import torchvision_cpu  # noqa: F401  first: clip imports torchvision
