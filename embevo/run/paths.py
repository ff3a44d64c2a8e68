"""Where the parts of a run lie below its directory."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embevo.errors import ArgumentError

_SNAPSHOT: Final = re.compile(r"step_([0-9]{7,})\.safetensors")
# A URL, or one that pathlib has made a path of.
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(s3a?|gs|az|abfss?|https?|file):/")
_USER: Final = re.compile(r"/+[^/\s@]*@")
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, init=False)
class RunPaths:
    """The names below a run directory.

    Attributes:
        root: the run directory: absolute, and with every link that led to it followed, so that it stays the
            same directory when the working directory is changed or a link is made to point elsewhere.
    """

    root: Path

    def __init__(self, root: PathLike) -> None:
        """Name the parts of the run directory that a path leads to now.

        Raises:
            ArgumentError: it is not a path, or too long a one.
        """
        _check_no_url(root)
        object.__setattr__(self, "root", _followed(absolute(root)))

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
    def journal_at(self) -> Path:
        """Where the ring is, if it lies outside of the run directory; gone after a clean close too."""
        return self.root / "journal.at"

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
    def viewer(self) -> Path:
        """What the page of a large run was sent, so that it is not made again; not part of the recording."""
        return self.root / "viewer.cache"

    @property
    def figures(self) -> Path:
        """Where figures of the run are drawn unless another place is named; not part of the recording."""
        return self.root / "figures"

    @property
    def analysis_json(self) -> Path:
        """What an analysis has found besides its series, and in which state of the run."""
        return self.root / "analysis.json"

    @property
    def tokens(self) -> Path:
        """What is said of the tokens: strings, counts, groups; named by the manifest."""
        return self.root / "tokens.json"

    @property
    def tokens_pending(self) -> Path:
        """The new file of the tokens, which counts as soon as the manifest names it."""
        return self.root / "tokens.json.partial"

    @property
    def ranks(self) -> Path:
        """The runs of the processes of a distributed training, each of its pieces."""
        return self.root / "ranks"

    def rank(self, number: int) -> "RunPaths":
        """The run of one process of a distributed training."""
        return RunPaths(self.ranks / f"{number:05d}")

    @property
    def unjoined(self) -> Path:
        """There while rows of those runs may be missing in the whole run."""
        return self.ranks / "unjoined"

    @property
    def whole(self) -> "RunPaths":
        """The run that this is the part of a process of; itself where it is none."""
        above = self.root.parent
        return RunPaths(above.parent) if above.name == "ranks" and self.root.name.isdecimal() else self

    @property
    def mirror(self) -> Path:
        """What the run is called in object storage; only where it is sent to one."""
        return self.root / "mirror.json"

    @property
    def staged(self) -> Path:
        """A new run that is being made; it counts for nothing, and is discarded if it is never finished."""
        return self.root / ".embevo-new"

    @property
    def incoming(self) -> Path:
        """A new run that is complete and on its way into its place: it is the one that counts."""
        return self.root / ".embevo-next"

    @property
    def outgoing(self) -> Path:
        """The parts of the run that was there before, until they are deleted."""
        return self.root / ".embevo-old"

    @property
    def parts(self) -> tuple[Path, ...]:
        """Everything that embevo puts into a run directory, but for the lock; the manifest comes last."""
        return (
            self.trajectory,
            self.snapshots,
            self.checkpoints,
            self.figures,
            self.analysis,
            self.analysis_json,
            self.tokens,
            self.ranks,
            self.mirror,
            self.journal,
            self.journal_at,
            self.manifest,
        )

    def snapshot(self, step: int) -> Path:
        """The safetensors file of a step."""
        return self.snapshots / snapshot_name(step)


def absolute(path: PathLike) -> Path:
    """A path as it is meant now, whatever becomes the working directory later.

    Raises:
        ArgumentError: it is not a path, or a relative one while the working directory is gone.
    """
    given = path if isinstance(path, str) else _spelled(path)
    if not given or "\0" in given:
        raise ArgumentError(
            f"{given!r} names no file or directory: a path has at least one character, none NUL"
        )
    try:
        return Path(given).absolute()
    except FileNotFoundError as error:
        raise ArgumentError(
            f"{given} is a relative path, and the working directory is gone. Give an absolute one."
        ) from error


def looks_like_url(path: object) -> bool:
    """Whether a path is a URL, or what pathlib makes of one: a directory of that name is never meant."""
    return _URL.match(str(path)) is not None


def _check_no_url(path: PathLike) -> None:
    if looks_like_url(path):
        raise ArgumentError(
            f"{_USER.sub('//', str(path).partition('?')[0])} is a URL, and a directory is wanted here. A run "
            "is recorded on the disk, and sent to object storage with mirror= and a URL, or embevo push; "
            "open_run, embevo verify and embevo diff read it there, with two slashes behind the colon, and "
            "embevo pull brings it onto the disk for everything else."
        )


def _spelled(path: object) -> str:
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str):
        raise ArgumentError(f"{path!r} is a {type(path).__name__}; a path is a str or a pathlib.Path")
    return given


def _followed(path: Path) -> Path:
    """The path without links, as far as they lead somewhere; a link into nothing is left as it is."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        pass
    try:
        ends = path.is_symlink() or path == path.parent
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ArgumentError(
            f"{path} is too long a path for this file system: choose a shorter one"
        ) from error
    return path if ends else _followed(path.parent) / path.name


def snapshot_name(step: int) -> str:
    """``step_0000123.safetensors``."""
    return f"step_{step:07d}.safetensors"


def snapshot_steps(directory: Path) -> list[int]:
    """The steps whose safetensors files lie in a directory, ascending."""
    if not directory.is_dir():
        return []
    matches = (_SNAPSHOT.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)
