"""Where the parts of a run lie below its directory."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SNAPSHOT: Final = re.compile(r"step_(\d{7,})\.safetensors")


@dataclass(frozen=True)
class RunPaths:
    """The names below a run directory.

    Attributes:
        root: the run directory.
    """

    root: Path

    @property
    def trajectory(self) -> Path:
        """The Zarr group."""
        return self.root / "trajectory.zarr"

    @property
    def snapshots(self) -> Path:
        """The directory of per-step safetensors files."""
        return self.root / "snapshots"

    @property
    def manifest(self) -> Path:
        """What was written, with checksums."""
        return self.root / "manifest"

    @property
    def journal(self) -> Path:
        """The ring; gone after a clean close."""
        return self.root / "journal"

    @property
    def lock(self) -> Path:
        """Held by the one writer."""
        return self.root / "writer.lock"

    @property
    def checkpoints(self) -> Path:
        """What a resumed training starts from."""
        return self.root / "checkpoints"

    @property
    def analysis(self) -> Path:
        """The series that an analysis has computed; not part of the recording."""
        return self.root / "analysis.zarr"

    @property
    def figures(self) -> Path:
        """Where figures of the run are drawn unless another place is named; not part of the recording."""
        return self.root / "figures"

    @property
    def analysis_json(self) -> Path:
        """What else it has computed, and of which state of the run."""
        return self.root / "analysis.json"

    def snapshot(self, step: int) -> Path:
        """The safetensors file of a step."""
        return self.snapshots / snapshot_name(step)


def snapshot_name(step: int) -> str:
    """``step_0000123.safetensors``."""
    return f"step_{step:07d}.safetensors"


def snapshot_steps(directory: Path) -> list[int]:
    """The steps whose safetensors files lie in a directory, ascending."""
    if not directory.is_dir():
        return []
    matches = (_SNAPSHOT.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)
