"""Errors that a user can mend.

`for_user` is what train.py asks for: it prints such an error's one sentence, and any other error's stack trace. Each is
also the built-in error that it would otherwise be.
"""


class UserError(ValueError):
    """A mistake that a user can mend; its text is one sentence that says what, where, and what to do."""

    for_user = True


class MissingFile(UserError, FileNotFoundError):
    """Something that should be on the disk is not."""


class NotFinite(UserError, FloatingPointError):
    """A number that became infinite or NaN."""
