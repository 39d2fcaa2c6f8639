"""How shapes-tiny was trained, the small CLIP that the repository bundles for the Shapes data set.

Images and captions come from `datasets/shapes/world.py` and `datasets/shapes/captions.py`; the loss is CLIP's
(Radford et al. 2021, symmetric InfoNCE). The recipe's numbers are our choice; `assets/MODEL_CARD.md` says what they
gave.
"""

import torchvision_cpu  # noqa: F401  first: clip imports torchvision
