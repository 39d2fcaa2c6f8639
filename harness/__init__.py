"""All that surrounds a run: which methods and data sets there are, where runs live, what to run, and tables.

Imports neither torch nor dassl, trainers or datasets: a script answers at once, and a login node without a GPU can plan
and report.

    running/   one run, a protocol, or a sweep of many: what is to be done, and doing it
    report/    runs that are there: their results, tables, comparisons, the HTML page
    forks/     methods into a fork of CoOp and out again
"""
