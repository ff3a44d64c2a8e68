"""A sweep: the runs of a grid in one directory, and what has become of each, as the disk says.

Nothing is remembered elsewhere: whoever looks, from whatever process, sees the same states. Beside the runs
lies the directory ``sweep``, with the settings, the log and, where it failed, the reason of each run.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from embevo.errors import ConfigError, EmbevoError, RunInUseError
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.grid import GridRun
from embevo.run.disk.atomic import write_file
from embevo.run.disk.lock import Owner, WriterLock, writer_of
from embevo.run.paths import PathLike, RunPaths, absolute
from embevo.run.reading.summary import RunSummary, summarize
from embevo.run.repair.recovery import has_run, is_on_its_way
from embevo.run.repair.verification import verify

State = Literal["waiting", "recording", "unknown", "interrupted", "complete", "failed"]
# Lines of a log that are looked through for the reason of a failure.
_REASON_BYTES: Final = 4000


@dataclass(frozen=True)
class Status:
    """What has become of one run.

    Attributes:
        name: of the run.
        path: its directory.
        state: ``waiting``: nothing is recorded yet; ``recording``: a process writes it now; ``unknown``: a
            process may write it, and this machine cannot tell; ``interrupted``: not all of its steps are
            recorded, and it can be resumed; ``complete``; or ``failed``.
        step: the last step that is recorded; None if none is.
        steps: the last step there will be.
        reason: why it failed, or who writes it; else empty.
    """

    name: str
    path: str
    state: State
    step: int | None
    steps: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain JSON."""
        return asdict(self)


class Sweep:
    """The runs of a grid below one directory.

    Attributes:
        out: the directory.
        runs: of the grid, in its order.
    """

    def __init__(self, out: PathLike, runs: list[GridRun]) -> None:
        """Name the runs and where they lie; nothing is made."""
        self.out = absolute(out)
        self.runs = runs

    @property
    def lock(self) -> Path:
        """Held by the one process that works on the sweep."""
        return self.out / "sweep.lock"

    def path(self, run: GridRun) -> Path:
        """The directory of a run."""
        return self.out / run.name

    def log(self, run: GridRun) -> Path:
        """What its training prints."""
        return self._beside(run, ".log")

    def settings(self, run: GridRun) -> Path:
        """The settings that its training is started with."""
        return self._beside(run, ".toml")

    @property
    def folder(self) -> Path:
        """What lies beside the runs: settings, logs, reasons of failures."""
        return self.out / "sweep"

    def _beside(self, run: GridRun, ending: str) -> Path:
        return self.folder / f"{run.name}{ending}"

    @property
    def kept_threads(self) -> int | None:
        """How many threads each training has; None for a sweep that was not begun.

        Raises:
            ConfigError: the file that says so is damaged.
        """
        file = self.folder / "sweep.json"
        try:
            return int(json.loads(file.read_bytes())["threads"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{file} is damaged: it says how many threads each run has, as in {{'threads': 1}}."
            ) from error

    def threads(self, wanted: int | None, default: int) -> int:
        """How many threads each training has: decided once, since another number changes the bits.

        Raises:
            ConfigError: another number is wanted than the sweep was begun with.
        """
        kept = self.kept_threads
        if kept is None:
            kept = wanted or default
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(self.folder / "sweep.json", json.dumps({"threads": kept}).encode(), sync=True)
        if wanted not in (None, kept):
            raise ConfigError(
                f"{self.out} was begun with {kept} threads a run, and another number gives other bits: leave "
                "--threads out, or sweep into another directory."
            )
        return kept

    def threads_of(self, run: GridRun) -> int | None:
        """The threads with which a run was begun; None if it was not."""
        try:
            environment = summarize(self.path(run)).attributes.get("environment", {})
            return int(environment["threads"])
        except (EmbevoError, OSError, KeyError, ValueError, TypeError):
            return None

    def status(self, run: GridRun, *, verified: bool = False) -> Status:
        """What has become of a run; with ``verified``, one that is damaged has failed."""
        paths = RunPaths(self.path(run))
        if has_run(paths):
            return self._recorded(run, verified=verified)
        writer = writer_of(paths.lock)
        if writer is not None:
            return self._written(run, writer, None)
        failure = self._failure(run)
        return self._status(run, "failed" if failure else "waiting", None, failure)

    def _recorded(self, run: GridRun, *, verified: bool) -> Status:
        """The state of a run of which something is there."""
        path, steps = self.path(run), run.config.steps
        try:
            summary = summarize(path)
            wrong = _differences(summary, run.config)
            if not wrong and verified and _is_whole(summary, steps):
                wrong = "; ".join(f"{found.file}: {found.what}" for found in verify(path).problems[:3])
        except (EmbevoError, OSError) as error:
            return self._unread(run, str(error))
        step = summary.last_step
        if wrong:
            return self._status(run, "failed", step, wrong)
        if summary.writer is not None:
            return self._written(run, Owner(summary.writer, summary.state == "recording"), step)
        if _is_whole(summary, steps):
            return self._status(run, "complete", step, "")
        failure = self._failure(run)
        return self._status(run, "failed" if failure else "interrupted", step, failure)

    def _unread(self, run: GridRun, why: str) -> Status:
        """The state of a run that cannot be opened, as while it is put into its place part by part."""
        paths = RunPaths(self.path(run))
        writer = writer_of(paths.lock)
        if writer is not None:
            return self._written(run, writer, None)
        if is_on_its_way(paths):
            return self._status(run, "interrupted", None, "")
        return self._status(run, "failed", None, why)

    def _written(self, run: GridRun, writer: Owner, step: int | None) -> Status:
        """The state of a run that a process writes, or may write."""
        if writer.certain:
            return self._status(run, "recording", step, f"by {writer.name}")
        # After a crash of another host, or of this one, where the file system has no locks.
        reason = (
            f"{writer.name} may still write it, which this machine cannot tell. If that has ended, remove "
            f"{RunPaths(self.path(run)).lock}, and the same command goes on"
        )
        return self._status(run, "unknown", step, reason)

    def _status(self, run: GridRun, state: State, step: int | None, reason: str) -> Status:
        return Status(run.name, str(self.path(run)), state, step, run.config.steps, reason)

    def statuses(self) -> list[Status]:
        """:meth:`status` of every run."""
        return [self.status(run) for run in self.runs]

    def is_written(self, run: GridRun) -> bool:
        """Whether a process writes a run now."""
        return writer_of(RunPaths(self.path(run)).lock) is not None

    def free(self, run: GridRun) -> bool:
        """Remove the lock that a process of this machine has left which is gone; whether nobody has it then.

        Where the file system has no locks, no other machine can tell that it is gone.
        """
        lock = RunPaths(self.path(run)).lock
        if lock.exists():
            try:
                WriterLock(lock).release()
            except RunInUseError:
                return False
        return True

    def fail(self, run: GridRun, reason: str) -> None:
        """Keep why a run failed."""
        write_file(self._beside(run, ".failed"), reason.encode(errors="replace"), sync=False)

    def retry(self, run: GridRun) -> None:
        """Forget that a run failed."""
        self._beside(run, ".failed").unlink(missing_ok=True)

    def _failure(self, run: GridRun) -> str:
        try:
            reason = self._beside(run, ".failed").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return reason or f"why was not kept: see {self.log(run)}"

    def logged(self, run: GridRun) -> int:
        """How many bytes a run's log has."""
        try:
            return self.log(run).stat().st_size
        except OSError:
            return 0

    def last_words(self, run: GridRun, begin: int = 0) -> str:
        """The end of a run's log, where a training that fails says why; empty if it has said nothing.

        Args:
            run: the run.
            begin: bytes of the log that are of attempts before.
        """
        try:
            with self.log(run).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(begin, size - _REASON_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        errors = [place for place, line in enumerate(lines) if line.startswith("Error: ")]
        kept = lines[errors[-1] :] if errors else lines[-1:]
        return " ".join(line.strip() for line in kept).removeprefix("Error: ")


def _is_whole(summary: RunSummary, steps: int) -> bool:
    return summary.state == "complete" and summary.last_step == steps


def _differences(summary: RunSummary, config: ExperimentConfig) -> str:
    """In what a run is not the one of the grid; empty if it is."""
    before = {**ExperimentConfig().to_mapping(), **summary.config}
    # What does not matter for the numbers may differ, and a run says which products auto has chosen.
    resolved = {"matmul"} if config.matmul == "auto" else set()
    ignored = {name for name, meaning in config.meanings().items() if meaning == "conduct"} | resolved
    wrong = [
        f"{name} is {before.get(name)!r} there and {value!r} in the grid"
        for name, value in config.to_mapping().items()
        if name not in ignored and before.get(name) != value
    ]
    return f"another run is there: {'; '.join(wrong)}" if wrong else ""
