"""Trainers that were written for Dassl, in a fork of CoOp's or MaPLe's, run here as they are.

guest.py brings one in, for own_methods.py. Beside its code it needs what a fork's environment had (bridges.py), CLIP's
weights where it looks for them (clip_files.py), and a record of what came out (trainer.py).
"""
