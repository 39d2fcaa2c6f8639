"""Data set loaders. Importing a module registers its loaders with Dassl; train.py imports them all."""
