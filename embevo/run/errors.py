"""What can go wrong with a run, as exceptions whose messages are meant for the person reading them."""

from typing import Final

# What reading fields out of JSON raises that someone else has made.
MALFORMED: Final = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class EmbevoError(Exception):
    """Base of every error that embevo raises on purpose."""


class NotARunError(EmbevoError):
    """The directory is not a run, or not one that this version can read."""


class RunExistsError(EmbevoError):
    """The run directory already holds something that would be overwritten."""


class RunInUseError(EmbevoError):
    """Another process is writing the run."""


class FrameMismatchError(EmbevoError):
    """A tensor does not have the name, shape or dtype that the run records."""


class RingFullError(EmbevoError):
    """The journal's ring is full and the policy is to raise."""


class RecordingError(EmbevoError):
    """Writing the run failed; what had been captured before is safe in the journal."""


class DamagedError(EmbevoError):
    """Stored bytes are not the bytes that were written."""


class DivergedError(EmbevoError):
    """A step that was run again differs from what had been recorded."""
