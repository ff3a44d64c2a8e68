"""A flight recorder for embedding matrices: every training step, nothing lost, one read to have it all.

``__all__`` is what is public; docs/api.md describes it. All else may change with any version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from embevo.errors import (
    AnalysisError,
    ArgumentError,
    CheckpointError,
    ClosedError,
    ConfigError,
    CorpusError,
    CreationError,
    DamagedError,
    DestinationError,
    DeviceError,
    DivergedError,
    EmbevoError,
    ExportError,
    FilmError,
    FrameMismatchError,
    MissingLibraryError,
    NotARunError,
    NothingToDrawError,
    NotSafetensorsError,
    RecordingError,
    RecordingWarning,
    ResumeError,
    RingFullError,
    RunExistsError,
    RunInUseError,
    RunReplacedError,
    StaleTensorError,
    StorageError,
    StorageRefusedError,
    SweepError,
    UnprovenError,
    UnsupportedError,
    WeakerPromiseWarning,
)

if TYPE_CHECKING:
    from embevo.analysis.differing.diff import diff
    from embevo.recording.adapters.lightning_callback import RecordLightning
    from embevo.recording.adapters.optimizer_hook import capture_every_step
    from embevo.recording.adapters.trainer_callback import RecordEmbeddings
    from embevo.recording.annotating import annotate
    from embevo.recording.count_tokens import count_tokens
    from embevo.recording.makers import gradient, optimizer_state, source
    from embevo.recording.record import record
    from embevo.recording.recorder import Recorder
    from embevo.run.format.schedule import at, dense_then, every, log_spaced
    from embevo.run.mirroring.pulling import pull
    from embevo.run.reading.reader import Run, open_run
    from embevo.run.reading.tree import open_runs
    from embevo.run.repair.compacting import compact
    from embevo.run.repair.recovery import recover
    from embevo.run.repair.verification import verify
    from embevo.viewer.notebook import view

__all__ = [
    "AnalysisError",
    "ArgumentError",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "CorpusError",
    "CreationError",
    "DamagedError",
    "DestinationError",
    "DeviceError",
    "DivergedError",
    "EmbevoError",
    "ExportError",
    "FilmError",
    "FrameMismatchError",
    "MissingLibraryError",
    "NotARunError",
    "NotSafetensorsError",
    "NothingToDrawError",
    "RecordEmbeddings",
    "RecordLightning",
    "Recorder",
    "RecordingError",
    "RecordingWarning",
    "ResumeError",
    "RingFullError",
    "Run",
    "RunExistsError",
    "RunInUseError",
    "RunReplacedError",
    "StaleTensorError",
    "StorageError",
    "StorageRefusedError",
    "SweepError",
    "UnprovenError",
    "UnsupportedError",
    "WeakerPromiseWarning",
    "__version__",
    "annotate",
    "at",
    "capture_every_step",
    "compact",
    "count_tokens",
    "dense_then",
    "diff",
    "every",
    "gradient",
    "log_spaced",
    "open_run",
    "open_runs",
    "optimizer_state",
    "pull",
    "record",
    "recover",
    "source",
    "verify",
    "view",
]
__version__: Final = "0.1.0"

# Imported on first use: zarr loads this package for its bfloat16 type and must not load torch with it.
_MODULE_OF: Final = {
    "RecordEmbeddings": "embevo.recording.adapters.trainer_callback",
    "RecordLightning": "embevo.recording.adapters.lightning_callback",
    "Recorder": "embevo.recording.recorder",
    "Run": "embevo.run.reading.reader",
    "annotate": "embevo.recording.annotating",
    "at": "embevo.run.format.schedule",
    "capture_every_step": "embevo.recording.adapters.optimizer_hook",
    "compact": "embevo.run.repair.compacting",
    "count_tokens": "embevo.recording.count_tokens",
    "dense_then": "embevo.run.format.schedule",
    "diff": "embevo.analysis.differing.diff",
    "every": "embevo.run.format.schedule",
    "gradient": "embevo.recording.makers",
    "log_spaced": "embevo.run.format.schedule",
    "open_run": "embevo.run.reading.reader",
    "open_runs": "embevo.run.reading.tree",
    "optimizer_state": "embevo.recording.makers",
    "pull": "embevo.run.mirroring.pulling",
    "record": "embevo.recording.record",
    "recover": "embevo.run.repair.recovery",
    "source": "embevo.recording.makers",
    "verify": "embevo.run.repair.verification",
    "view": "embevo.viewer.notebook",
}
# What can be missing, and what to install.
_LIBRARIES: Final = {
    "accelerate": "accelerate",
    "lightning": "embevo[lightning]",
    "pytorch_lightning": "embevo[lightning]",
    "torch": "torch",
    "transformers": "transformers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'embevo' has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULE_OF[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        needed = {"library": error.name, "install": _LIBRARIES[error.name]}
        return type(name, (_Missing,), {**needed, "__module__": __name__})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Missing:
    """In place of what needs a library that is not installed, so that all else can be imported and used."""

    library = ""
    install = ""

    def __new__(cls, *_: object, **__: object) -> NoReturn:
        raise MissingLibraryError(f"{cls.__name__} needs {cls.library}: pip install {cls.install}")
