"""Errors that a user can mend. Whoever runs a trainer shows their text alone, without a stack trace."""


class UserError(ValueError):
    """A mistake that a user can mend; its text is one sentence for them: what is wrong, where, what to do.

    Built from that sentence alone, so that PyTorch's data loaders can raise it again in the main process.
    """

    for_user = True  # asked for instead of the class, which is another one in dassl, data sets and forks


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that does not exist."""


class NotFinite(UserError, FloatingPointError):
    """A number that became infinite or NaN."""


def up_to(highest: int) -> str:
    """The numbers that a user may choose, from 1: "1 to 12", or "1"."""
    return "1" if highest == 1 else f"1 to {highest}"
