"""The errors that a user can cause, and mend.

Each is also the built-in exception that a caller would expect (`ValueError`, `FileNotFoundError`, ...), so users of the
library need not know this module. Scripts catch `XXNetError` and print its message without a traceback.
"""

import difflib
from collections.abc import Iterable


class XXNetError(Exception):
    """Base class: the message says what was wrong, what was expected and what to do."""


class InvalidArgument(XXNetError, ValueError):
    """An argument has a value that cannot be used."""


class UnknownName(XXNetError, ValueError):
    """A name is not registered; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if nearest:
            hint = f"did you mean {' or '.join(nearest)}?"
        else:
            hint = f"known: {', '.join(known)}" if known else "there are none"
        super().__init__(f"unknown {kind} '{name}': {hint}")


class MissingData(XXNetError, FileNotFoundError):
    """A dataset, a run or a file is not where it was looked for."""


class CorruptData(XXNetError, ValueError):
    """A file is there, but its content is not what its format promises."""


class CannotWrite(XXNetError, OSError):
    """A folder cannot be written, or the disk is full."""


class ConfigMismatch(XXNetError, ValueError):
    """A run folder holds a run with another configuration."""


class Diverged(XXNetError, FloatingPointError):
    """The loss is no longer a finite number."""
