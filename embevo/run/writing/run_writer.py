"""The one way to create a run, to take it up again, and to close it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embevo.run.disk.lock import WriterLock
from embevo.run.format.layout import Layout, identity
from embevo.run.format.token_names import Annotations
from embevo.run.journal.place import make_ring, need_ring, remove_ring
from embevo.run.journal.ring import Frame, Journal
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.reader import Run
from embevo.run.reading.sealed import SealedRows
from embevo.run.writing.annotating import write_annotations
from embevo.run.writing.directory import (
    cannot_create,
    claim,
    missing_directories,
    remove_directories,
    sync_run,
)
from embevo.run.writing.local_sink import create_run
from embevo.run.writing.replacing import discard, put_in_place, stage
from embevo.run.writing.sealing import Sealer


class RunWriter:
    """The writer of a run: its lock, its ring, and what moves rows from the ring to where they stay.

    :meth:`StagedRun.publish` and :meth:`reopen` make one.

    Attributes:
        paths: of the run.
        layout: of the run.
        journal: the ring, writable.
        sealer: seals rows of the ring; its ``rows`` says how many are sealed.
        after: called when the run was let go of; None for nothing.
    """

    def __init__(
        self, paths: RunPaths, layout: Layout, lock: WriterLock, journal: Journal, *, rows: int, sync: bool
    ) -> None:
        """Write a run that is there with ``rows`` sealed rows; the lock is held, and now the writer's."""
        self.paths = paths
        self.layout = layout
        self.journal = journal
        appender = ManifestAppender(Manifest(paths.manifest))
        self.sealer = Sealer(paths, layout, appender, rows=rows, sync=sync)
        self.after: Callable[[], None] | None = None
        self._lock = lock

    @classmethod
    def create(
        cls, paths: RunPaths, layout: Layout, *, slots: int, overwrite: bool, said: Annotations | None = None
    ) -> "RunWriter":
        """Make a new run and put it in its place at once; arguments and errors are :class:`StagedRun`'s.

        The counts among what is ``said`` of the tokens go where the layout has them.
        """
        said = said or Annotations()
        staged = StagedRun(
            paths,
            layout,
            slots=slots,
            token_count=said.token_count,
            annotations=replace(said, token_count=None),
            overwrite=overwrite,
        )
        try:
            return staged.publish()
        except BaseException:
            staged.abandon()
            raise

    @classmethod
    def reopen(
        cls, paths: RunPaths, lock: WriterLock, *, sync: bool = False, journal_dir: PathLike | None = None
    ) -> Self:
        """Take a run up again behind its last row; it was recovered, and has no journal.

        Args:
            paths: of the run.
            lock: held by the caller; it stays the caller's if this fails.
            sync: whether the run, and what is written from now on, survives a power cut.
            journal_dir: where the ring goes; the run directory, or where the environment says, if None.

        Raises:
            DamagedError: the rows of its short last block are not what was written.
            CreationError: there is no room for the ring.
            OSError: with the path.
        """
        run = Run(paths.root)
        journal = ring_of(run, run.sealed_rows, journal_dir)
        try:
            if sync:
                # What was recorded without syncs so far.
                sync_run(paths)
            return cls(paths, run.layout, lock, journal, rows=run.sealed_rows, sync=sync)
        except BaseException:
            _remove_ring(paths, journal)
            raise

    @contextlib.contextmanager
    def filling(self, what: str) -> Iterator[None]:
        """Guard a body that fills a new run, and close the run: complete if the body ends, else unfinished.

        Args:
            what: that is to be repeated if it does not, such as ``import``.
        """
        complete = False
        try:
            yield
            complete = True
        except BaseException as error:
            error.add_note(f"{self.paths.root} holds an unfinished {what}: repeat it with overwrite.")
            raise
        finally:
            self.close(complete=complete)

    def close(self, *, complete: bool) -> None:
        """Let go of the run.

        Args:
            complete: whether every row of the ring is sealed; then the ring is removed, else it stays for
                ``recover``.

        Raises:
            OSError: with the path: the ring, or the lock, cannot be removed.
        """
        self.journal.close()
        self.let_go(complete=complete)

    def let_go(self, *, complete: bool) -> None:
        """:meth:`close`, but for the mapping: whoever captures may still hold views into it."""
        try:
            if complete:
                remove_ring(self.paths)
        finally:
            self._lock.release()
            if self.after is not None:
                self.after()


class StagedRun:
    """A new run of no rows, whole, beside the place where it goes: what is there is still there.

    Attributes:
        journal: the ring, writable.
    """

    def __init__(
        self,
        paths: RunPaths,
        layout: Layout,
        *,
        slots: int,
        token_count: NDArray[np.int64] | None = None,
        annotations: Annotations | None = None,
        overwrite: bool = False,
        sync: bool = False,
        journal_dir: PathLike | None = None,
    ) -> None:
        """Take the lock and make it.

        Args:
            paths: where the run goes; the directory is made if need be.
            layout: of the run.
            slots: of the ring.
            token_count: ``(token,)`` int64, where the layout has it.
            annotations: what is said of the tokens; None if nothing is.
            overwrite: whether a run that is there may be replaced.
            sync: whether what is written survives a power cut, from now on.
            journal_dir: where the ring goes; the run directory, or where the environment says, if None.

        Raises:
            RunExistsError: the directory holds something.
            RunInUseError: another process is writing the run.
            CreationError: there is no room, or no permission; what was there is there.
        """
        self._paths = paths
        self._layout = layout
        self._sync = sync
        self._made = missing_directories(paths.root)
        self._lock = claim(paths, overwrite=overwrite)
        try:
            staged = stage(paths)
            self.journal = make_ring(
                staged,
                layout.frame,
                slots,
                run=identity(layout),
                made_for=paths.root,
                journal_dir=journal_dir,
            )
            need_ring(staged)
            manifest = create_run(staged, layout, token_count, sync=sync)
            if annotations is not None:
                write_annotations(staged, manifest, None, annotations, sync=sync)
        except BaseException as error:
            discard(paths)
            self._lock.release()
            remove_directories(self._made)
            if isinstance(error, OSError):
                raise cannot_create(paths, error) from error
            raise

    def publish(self) -> RunWriter:
        """Put it in its place, where from here on it is the run, and begin to write it.

        Raises:
            CreationError: that cannot be done; what was there is there.
        """
        try:
            put_in_place(self._paths, sync=self._sync)
        except OSError as error:
            raise cannot_create(self._paths, error) from error
        if self.journal.path == RunPaths(self._paths.staged).journal:
            self.journal.path = self._paths.journal
        return RunWriter(self._paths, self._layout, self._lock, self.journal, rows=0, sync=self._sync)

    def abandon(self) -> None:
        """Let go of it where it was not published: nothing of it is left."""
        self.journal.close()
        discard(self._paths)
        self._lock.release()
        remove_directories(self._made)


def ring_of(run: Run, rows: int, journal_dir: PathLike | None = None) -> Journal:
    """A new ring for a run that has none, with those of its first ``rows`` rows that fill no block.

    It goes into ``journal_dir``, or where :func:`journal_directory` says.

    Raises:
        DamagedError: they are not what was written.
        CreationError: there is no room for the ring.
    """
    paths, layout = RunPaths(run.path), run.layout
    first = rows // layout.block_steps * layout.block_steps
    sealed = SealedRows(paths, Manifest(paths.manifest), layout, run.sealed_rows)
    journal = make_ring(
        paths,
        layout.frame,
        2 * layout.block_steps,
        run=identity(layout),
        made_for=paths.root,
        journal_dir=journal_dir,
    )
    try:
        refill(journal, sealed, range(first, rows))
        need_ring(paths)
    except BaseException:
        _remove_ring(paths, journal)
        raise
    return journal


def _remove_ring(paths: RunPaths, journal: Journal) -> None:
    """Delete a ring whose rows are all in a block."""
    journal.close()
    with contextlib.suppress(OSError):
        remove_ring(paths)


def refill(journal: Journal, sealed: SealedRows, rows: Sequence[int]) -> None:
    """Put sealed rows of a short last block back into the ring, so that the block can be taken up again.

    Raises:
        DamagedError: a row is not what was written; those before it are in the ring.
    """
    if not rows:
        return
    values = [sealed.read(name, np.array(rows), ()) for name in journal.frame.scalars]
    scalars = np.stack(values, axis=1) if values else np.zeros((len(rows), 0))
    for index, image in enumerate(sealed.images(list(rows))):
        row = rows[index]
        step = int(sealed.steps[row])
        journal.put(Frame(row, step, scalars[index], image, sealed.image_checksum(row)))
