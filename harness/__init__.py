"""All that surrounds a run: which methods and data sets there are, where runs live, what to run, and tables.

Imports neither torch nor dassl, trainers or datasets: a script answers at once, and a login node without a GPU can plan
and report.
"""
