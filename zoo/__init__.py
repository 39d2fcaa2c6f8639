"""Checkpoints that the methods' public code has trained, as runs of this repository.

layouts.py says what such a file holds for each method, convert.py takes it over, run.py makes a run's folder of it.
"""
