"""Everything that embevo raises on purpose, in one tree; each message is meant for the person reading it."""


class EmbevoError(Exception):
    """Base of every error that embevo raises on purpose."""


class WeakerPromiseWarning(UserWarning):
    """The machine lacks something, and a promise holds in a weaker form there; the message says which."""


class RecordingWarning(UserWarning):
    """Something is not recorded as one would think; said once, and recording goes on."""


# What was asked for.


class ArgumentError(EmbevoError, ValueError):
    """An argument has a type or value that it cannot have; nothing was changed."""


class FrameMismatchError(EmbevoError):
    """A tensor does not have the name, shape or dtype that the run records."""


class StaleTensorError(EmbevoError):
    """A tensor that was handed over is not, or is no longer, the one that training uses."""


class ClosedError(EmbevoError):
    """The recorder was closed before, or belongs to another process: it records nothing more."""


class MissingLibraryError(EmbevoError, ImportError):
    """A library that only a part of embevo needs is not installed."""


class UnsupportedError(EmbevoError):
    """The machine, its operating system or its file system lacks what recording needs."""


# Run directories.


class NotARunError(EmbevoError):
    """The directory is not a run, or not one that this version can read."""


class RunExistsError(EmbevoError):
    """The run directory already holds something that would be overwritten."""


class RunInUseError(EmbevoError):
    """Another process is writing the run."""


class RunReplacedError(EmbevoError):
    """The run that was opened is gone: another one was recorded in its place."""


class CreationError(EmbevoError):
    """A run cannot be created there, for want of space or permission; nothing that was there is gone."""


# Recording.


class RecordingError(EmbevoError):
    """Writing the run failed; what had been captured before is safe in the journal."""


class RingFullError(EmbevoError):
    """The journal's ring is full and the policy is to raise; the step was not captured."""


class DivergedError(EmbevoError):
    """A step that was run again differs from what had been recorded."""


class StorageError(EmbevoError):
    """Object storage does not answer, or not as it should; asking again may help."""


class StorageRefusedError(StorageError):
    """Object storage refuses: there is no such bucket, or no permission."""


# Stored bytes.


class DamagedError(EmbevoError):
    """Stored bytes are not the bytes that were written."""


class UnprovenError(EmbevoError):
    """Captured rows may be whole, but nothing proves it here; they are kept where they are."""


class NotSafetensorsError(EmbevoError):
    """The file is not a whole, well-formed safetensors file."""


class ExportError(EmbevoError):
    """What was asked for cannot be exported, or not to there."""


# The experiment.


class ConfigError(EmbevoError):
    """A setting has an unknown name, a wrong type or an impossible value."""


class CorpusError(EmbevoError):
    """The corpus is missing, damaged or cannot be trained on."""


class CheckpointError(EmbevoError):
    """There is no checkpoint that training could go on from."""


class DeviceError(EmbevoError):
    """The device that was asked for is not there."""


class ResumeError(EmbevoError):
    """The run cannot be gone on with as it was begun."""


class SweepError(EmbevoError):
    """Those who should train the runs of a sweep are not there, or cannot; what was captured is safe."""


# Analysis.


class AnalysisError(EmbevoError):
    """What was asked for cannot be computed from this run."""


class DestinationError(AnalysisError):
    """A file cannot, or shall not, be written there."""


class NothingToDrawError(AnalysisError):
    """The run does not hold what a figure shows; the message says what is missing."""


class FilmError(AnalysisError):
    """A film could not be made."""
