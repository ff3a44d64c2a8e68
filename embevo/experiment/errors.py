"""What can go wrong before and while training, as errors for the person at the terminal."""

from embevo.run.errors import EmbevoError


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
