"""What is found: a line for each thing that was looked at."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness.errors import user_error

OK, NOTE, FAULT = "ok", "note", "fault"


class Finding(NamedTuple):
    level: str  # OK, NOTE (worth knowing, no number is wrong by it), FAULT (mend it before anything is run)
    check: str  # what was looked at: "data"
    text: str
    remedy: str = ""  # what to do; empty if the text says it

    def line(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.level:<5}  {self.check}: {self.text}{remedy}"


def findings_of(check: str, look: Callable[..., Iterator[Finding]], *args) -> Iterator[Finding]:
    """What `look(*args)` finds; an error that it raises for the user ends it, and is a fault."""
    try:
        yield from look(*args)
    except Exception as error:
        sentence = user_error(error)
        if sentence is None:
            raise
        yield Finding(FAULT, check, sentence.rstrip("."))
