"""Everything that bystander raises on purpose, one tree.

::

    BystanderError            exit 2  one line for the user: what was wrong, what to do
    ├── InputError                    the source: missing, no video in it, no frame decodes, ...
    ├── OutputError                   the destination: exists, not writable, disk full, ...
    ├── SettingsError                 a flag, a key or a value that does not fit
    ├── ModelError                    weights: missing, altered, of another kind, nonsense out
    ├── LiveError                     a live stream that had to end: too many faults in a row, all outputs gone
    └── Interrupted           exit 130 (SIGINT) or 143 (SIGTERM)
    InputWarning (Warning)    exit 3 at the end: processed what could be, something was lost

The command line catches ``BystanderError`` and prints its message as one line. Anything else is a defect
and keeps its traceback. Messages never carry picture content.
"""

from __future__ import annotations


class BystanderError(Exception):
    """Base of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 2


class InputError(BystanderError):
    """The source cannot be read as asked."""


class OutputError(BystanderError):
    """The destination cannot be written as asked; nothing was left behind."""


class SettingsError(BystanderError):
    """A setting is unknown or out of range."""


class ModelError(BystanderError):
    """The detector's weights are missing, altered or not what was asked for."""


class LiveError(BystanderError):
    """The stream could not go on; every picture that left it was covered."""


class Interrupted(BystanderError):
    """The user or the system asked us to stop; nothing was left behind."""

    exit_code = 130


class InputWarning(UserWarning):
    """The run went on, but part of the source was lost (damaged packets, a cut-off end)."""
