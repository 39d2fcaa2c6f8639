"""The bundled data sets: what to draw (`world.py`), to say of it (`captions.py`), and to load.

`family.py` has Shapes and its domain shifts, `miniature.py` seven small data sets with base and new classes.
"""

from . import family, miniature  # noqa: F401  registers the data sets
