"""The bundled data sets: what to draw (`world.py`), to say of it (`captions.py`) and to load (`family.py`)."""

from . import family  # noqa: F401  registers the data sets
