"""What things cost. A subject of tools/bench.py is a file here, with two functions:

`add_arguments(parser)`, and `measure(args)`, which returns a `table.Table`.
"""

import torchvision_cpu  # noqa: F401  first: clip imports torchvision
