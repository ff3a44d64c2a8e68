"""A flight recorder for embedding matrices: every training step, nothing lost, one read to have it all."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embevo.recording.recorder import Recorder
    from embevo.run.reading.reader import Run, open_run

__all__ = ["Recorder", "Run", "open_run"]


def __getattr__(name: str) -> Any:
    """Import on first use: zarr loads this package for its bfloat16 type and must not load torch with it."""
    if name == "Recorder":
        from embevo.recording.recorder import Recorder  # noqa: PLC0415

        return Recorder
    if name in {"Run", "open_run"}:
        from embevo.run.reading import reader  # noqa: PLC0415

        return getattr(reader, name)
    raise AttributeError(f"module 'embevo' has no attribute {name!r}")
