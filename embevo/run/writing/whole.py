"""The whole run that the processes of one training record together: making it, joining it, leaving it.

The process that is the first of those that record has the lock of the whole run and joins what all have
sealed, for as long as it records. Each process that ends lets go of its own run first and then sees whether
somebody is left who joins what it has sealed; if not, it does that itself. So the last one to end leaves a
run that is whole, none waits for another, and a process that was killed keeps nobody from that.

Where the run is sent to object storage, the process that joins sends it, and the last one to end sends what
was joined since the first has ended.
"""

import contextlib
import threading
import time
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from embevo.errors import RunInUseError
from embevo.run.disk.atomic import sync_file, write_file
from embevo.run.disk.lock import WriterLock, writer_of
from embevo.run.format.layout import Layout
from embevo.run.format.shards import Shards
from embevo.run.format.token_names import Annotations
from embevo.run.journal.place import is_interrupted
from embevo.run.paths import RunPaths
from embevo.run.writing.annotating import write_annotations
from embevo.run.writing.directory import cannot_create, claim, missing_directories, remove_directories
from embevo.run.writing.joining import Joiner
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.replacing import discard, put_in_place, stage
from embevo.run.writing.sink import SealedBlock

# While another process is behind, its manifest is looked at after a pause that grows to the second.
_LOOK_SECONDS: Final = 0.1
_LONGEST_LOOK_SECONDS: Final = 2.0
# Whoever joins at the end holds the lock for no longer than that takes.
_WAIT_SECONDS: Final = 0.05


class Sender(Protocol):
    """What sends a run while it is recorded."""

    def begin(self, paths: RunPaths, *, block_steps: int, rows: int) -> None:
        """Start to send a run, of which so many rows are sealed."""

    def reached(self, rows: int) -> None:
        """Note that so many rows are sealed."""

    def hand_over(self) -> None:
        """Let another process take over, which sends everything that is left."""


def create_whole(
    paths: RunPaths,
    layout: Layout,
    *,
    token_count: NDArray[np.int64] | None,
    annotations: Annotations,
    overwrite: bool,
    sync: bool,
) -> WriterLock:
    """Make a run of no rows and put it in its place; the runs of its processes come below it.

    Returns:
        The lock of the whole run.

    Raises:
        RunExistsError: the directory holds something.
        RunInUseError: another process is writing the run.
        CreationError: there is no room, or no permission; what was there is there.
    """
    made = missing_directories(paths.root)
    lock = claim(paths, overwrite=overwrite)
    try:
        staged = stage(paths)
        manifest = create_run(staged, layout, token_count, sync=sync)
        write_annotations(staged, manifest, None, annotations, sync=sync)
        staged.ranks.mkdir()
        mark_unjoined(staged, sync=sync)
        put_in_place(paths, sync=sync)
    except BaseException as error:
        discard(paths)
        lock.release()
        remove_directories(made)
        if isinstance(error, OSError):
            raise cannot_create(paths, error) from error
        raise
    return lock


def mark_unjoined(paths: RunPaths, *, sync: bool) -> None:
    """Say that runs of processes may have rows that the whole run has not."""
    write_file(paths.unjoined, b"", sync=sync)
    if sync:
        sync_file(paths.ranks)


def join_all(paths: RunPaths, layout: Layout, shards: Shards, *, sync: bool) -> Joiner:
    """Join what every process has sealed, for a caller that holds the lock of the whole run.

    Where all of them have ended and none is ahead of another, the mark that says otherwise is removed.

    Raises:
        RecordingError: two processes have recorded different steps.
        OSError: with the path; what was joined before is untouched.
    """
    joiner = Joiner(paths, layout, shards, sync=sync)
    joiner.join()
    # Looked at before the locks: a process that has ended since had sealed more.
    ended = not any(is_open(paths, rank) for rank in shards.ranks)
    joiner.join()
    if ended and not joiner.missing() and all(part.rows == joiner.rows for part in joiner.parts):
        paths.unjoined.unlink(missing_ok=True)
    return joiner


def is_open(paths: RunPaths, rank: int) -> bool:
    """Whether a process records, or was interrupted and has rows in its journal."""
    own = paths.rank(rank)
    return is_interrupted(own) or writer_of(own.lock) is not None


class Whole:
    """A whole run while this process records a part of it.

    Attributes:
        error: why what all have sealed can no longer be joined; None while it can.
    """

    def __init__(
        self,
        paths: RunPaths,
        layout: Layout,
        shards: Shards,
        *,
        lock: WriterLock | None,
        sync: bool,
    ) -> None:
        """Join from a thread what all have sealed, if this process has the lock of the whole run."""
        self.error: Exception | None = None
        self._paths = paths
        self._layout = layout
        self._shards = shards
        self._lock = lock
        self._sync = sync
        self._sender: Sender | None = None
        self._rows = 0
        self._wake = threading.Event()
        self._stopping = False
        self._sealed = 0
        self._thread: threading.Thread | None = None
        if lock is not None:
            joiner = Joiner(paths, layout, shards, sync=sync)
            # What it does not get to do at the end of the interpreter is done by whoever ends last.
            self._thread = threading.Thread(target=self._run, args=(joiner,), name="embevo-join", daemon=True)
            self._thread.start()

    def send_with(self, sender: Sender) -> None:
        """Have what is joined here sent: from now on, if this process joins; else at the end, if it is last.

        Args:
            sender: of the whole run.
        """
        self._sender = sender
        if self._lock is not None:
            sender.begin(self._paths, block_steps=self._layout.block_steps, rows=self._rows)

    def snapshot(self, step: int, image: memoryview) -> None:
        """Nothing: snapshots are those of the process."""

    def block(self, sealed: SealedBlock) -> None:
        """Look at the others, once this process has sealed a block.

        Raises:
            Exception: what has ended the joining.
        """
        if self.error is not None:
            raise self.error
        self._sealed = sealed.entry.stop
        self._wake.set()

    def _run(self, joiner: Joiner) -> None:
        pause = _LOOK_SECONDS
        try:
            while not self._stopping:
                behind = joiner.rows < self._sealed
                self._wake.wait(pause if behind else None)
                self._wake.clear()
                before = joiner.rows
                if not self._stopping and joiner.join() == before:
                    pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
                else:
                    pause = _LOOK_SECONDS
                    self._joined(joiner.rows)
        except Exception as error:  # noqa: BLE001 - handed to the writer, and so to the training thread
            self.error = error

    def leave(self) -> None:
        """Join what is sealed, unless another process is left who does; this process's own run is let go of.

        Raises:
            RecordingError: two processes have recorded different steps.
            OSError: with the path; ``embevo recover`` does the rest.
        """
        if self._thread is not None:
            self._stopping = True
            self._wake.set()
            self._thread.join()
        lock, self._lock = self._lock, None
        sends = lock is not None
        if lock is None:
            lock = self._lock_of_the_last()
        if lock is None:
            return
        try:
            # Where the mark is gone, another process has joined all there is, and sends it.
            last = self._paths.unjoined.exists() and not self._others_record()
            joiner = join_all(self._paths, self._layout, self._shards, sync=self._sync)
        finally:
            lock.release()
        if self._sender is None:
            return
        if sends:
            self._sender.hand_over()
            self._joined(joiner.rows)
        elif last:
            self._sender.begin(self._paths, block_steps=self._layout.block_steps, rows=joiner.rows)

    def _joined(self, rows: int) -> None:
        self._rows = rows
        if self._sender is not None:
            self._sender.reached(rows)

    def _others_record(self) -> bool:
        return any(writer_of(self._paths.rank(rank).lock) is not None for rank in self._shards.ranks)

    def _lock_of_the_last(self) -> WriterLock | None:
        """The lock of the whole run; None while the process that joins is at work."""
        lead = self._paths.rank(self._shards.lead)
        while writer_of(lead.lock) is None:
            # That process has sealed all it will, and may be joining it right now, without what this one has.
            with contextlib.suppress(RunInUseError):
                return WriterLock(self._paths.lock)
            joining = writer_of(self._paths.lock)
            if joining is not None and not joining.certain:
                # Left to embevo recover: whether it lives cannot be told from here.
                return None
            time.sleep(_WAIT_SECONDS)
        return None
