"""Methods of this repository in somebody's fork of CoOp, and out of it again: what tools/add_to_fork.py does.

Reads the fork as text and never imports it. Standard library only.
"""

PACKAGE = "prompt_methods"  # of the fork: trainers/prompt_methods/, where all that is copied lies
