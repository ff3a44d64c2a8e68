"""The background thread that moves committed rows from the journal into snapshots and blocks."""

import os
import shlex
import threading
import time
from typing import Final

from embevo.errors import RecordingError
from embevo.recording.holding import Holding
from embevo.recording.in_flight import InFlight
from embevo.recording.snapshot_files import SnapshotFiles
from embevo.recording.stillness import Stillness
from embevo.run.journal.ring import Journal
from embevo.run.writing.sealing import Sealer

# capture wakes nobody, because that would be a system call; the writer looks for itself. Each look takes a
# core and the interpreter lock from the training: the fewer the better, but a ring that fills must not wait.
_POLL_SECONDS: Final = 0.005
_LONGEST_POLL_SECONDS: Final = 0.25
# Where steps are to survive a power cut soon.
_LONGEST_SYNCED_POLL_SECONDS: Final = 0.05
# Of the ring, that is to be filled from one look to the next.
_RING_SHARE: Final = 1 / 16
# So many times the rows of the last pause, and at least so many, find their slots ready to be stored into.
_READY_TIMES: Final = 4
_READY_ROWS: Final = 16
# The training thread waits by looking too, and not for a condition: an interrupt that came while it let go of
# the lock of one would leave it locked, and the writer waiting for ever.
_LOOK_SECONDS: Final = 0.0005
# When so much of the ring waits for its files, there is a hurry. A block is half of the ring.
_HURRY_SHARE: Final = 3 / 8
# How the names of a writer's threads begin.
_THREADS: Final = "embevo-"


def next_pause(pause: float, rows: int, slots: int) -> float:
    """Seconds until the next look at a ring of so many slots, ``rows`` of them filled in the last pause."""
    wanted = pause * slots * _RING_SHARE / max(rows, 1)
    return min(max(wanted, _POLL_SECONDS), _LONGEST_POLL_SECONDS)


def interpreter_ends() -> bool:
    """Whether nobody is left who could capture: the main thread and all that are waited for have ended."""
    if threading.main_thread().is_alive():
        return False
    # The main thread is still in the list.
    return not any(
        thread.is_alive() and not thread.daemon and not thread.name.startswith(_THREADS)
        for thread in threading.enumerate()
    )


class Writer:
    """Drains rows in order. The training thread stores ``captured``; everything else is the writer's.

    Attributes:
        captured: rows that are complete in the journal; stored by the training thread, unless rows cross
            from a device.
        drained: rows below this one have their snapshots, and full blocks of them are sealed.
        released: rows below this one are sealed in full blocks; their slots may be used again.
        files: who makes the safetensors files.
        durable_step: the last step that survives a power cut; None while that is not known of any.
        error: what ended the thread before its time.
        holding: what it lets go of in the end.
        exited: whether that was the end of the interpreter, and no failure.
    """

    def __init__(
        self,
        journal: Journal,
        sealer: Sealer,
        holding: Holding,
        stillness: Stillness,
        *,
        row: int,
        block_steps: int,
        sync_seconds: float | None,
        sync_steps: int | None,
        in_flight: InFlight | None = None,
    ) -> None:
        """Start the thread at the first row that is not written yet.

        The journal is synced to the disk after ``sync_seconds``, or when ``sync_steps`` rows wait for it.
        The thread lets go of the run when all is sealed; after an error, whoever stops or abandons it does.
        With ``in_flight``, it is the writer that puts rows into the journal and stores ``captured``.
        """
        self.durable_step: int | None = None
        self._stillness = stillness
        self._durable = row
        self._sync_seconds = sync_seconds
        self._sync_steps = sync_steps
        self._synced_at = time.monotonic()
        self.captured = row
        self.released = row // block_steps * block_steps
        self.error: RecordingError | None = None
        self.exited = False
        self._sealed_step: int | None = None
        self._journal = journal
        self._in_flight = in_flight
        self._sealer = sealer
        self.holding = holding
        self._block_steps = block_steps
        self.drained = row
        self._looked_at = row
        self._seen = row
        self.files = SnapshotFiles(journal, sealer, row)
        self._flush_to = row
        self._ready = row
        self._stopping = False
        self._abandoned = False
        self._pause = _POLL_SECONDS
        self._wake = threading.Event()
        self._finished = threading.Event()
        # A thread of its own, so that a device need not wait for a buffer while a block is compressed.
        self._lander: threading.Thread | None = None
        self._land_wake = threading.Event()
        if in_flight is not None:
            self._lander = threading.Thread(target=self._land, args=(in_flight,), name=_THREADS + "lander")
            self._lander.start()
        self._thread = threading.Thread(target=self._run, name=_THREADS + "writer", daemon=False)
        self._thread.start()

    def wait_for_room(self, row: int) -> int:
        """Wait until the slot of a row is free, or the writer has failed; returns the nanoseconds waited."""
        started = time.perf_counter_ns()
        self._wake.set()
        while self.error is None and row >= self.released + self._journal.slots:
            time.sleep(_LOOK_SECONDS)
        return time.perf_counter_ns() - started

    @property
    def complete(self) -> bool:
        """Whether every captured row is sealed."""
        return self._sealer.rows >= (self.captured if self._in_flight is None else self._in_flight.next_row)

    def wake(self) -> None:
        """Have the threads look at once."""
        self._land_wake.set()
        self._wake.set()

    def flush(self) -> None:
        """Wait until all rows captured so far are sealed, or the writer has failed."""
        target = self.captured if self._in_flight is None else self._in_flight.next_row
        self._flush_to = target
        self.wake()
        while self.error is None and self._sealer.rows < target:
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Seal what there is, end the thread and let go of the run."""
        self._stopping = True
        self.wake()
        # An interrupt during join makes Python 3.11 take the thread for finished; during this it does not.
        self._finished.wait()
        self._thread.join()
        self.holding.let_go(sealed=False)

    def abandon(self) -> None:
        """Have the thread seal what there is and let go of the run, without waiting for it.

        This is called while garbage is collected, by whichever thread does that, perhaps in the midst of the
        methods of an event: it takes no lock, and the thread finds out when it looks.
        """
        self._abandoned = True
        self._stopping = True
        if self._finished.is_set():
            self.holding.let_go(sealed=False)

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait(self._pause)
                self._wake.clear()
                # Read before `captured`: a row captured before the stop was asked for is seen.
                exiting = interpreter_ends()
                stopping = self._stopping or exiting
                flush_to = self._flush_to
                if self._lander is not None and stopping:
                    self._lander.join()
                captured = self.captured
                rows = captured - self._seen
                self._seen = captured
                self._make_ready(captured, rows)
                if self._sync_seconds is None:
                    self._pause = next_pause(self._pause, rows, self._journal.slots)
                elif self._sync_steps is None:
                    pause = next_pause(self._pause, rows, self._journal.slots)
                    self._pause = min(pause, _LONGEST_SYNCED_POLL_SECONDS)
                flushing = stopping or flush_to > self._sealer.rows
                self._drain(captured, hurry=flushing)
                if captured > self._sealer.rows and flushing:
                    self._seal(captured)
                self._sync()
                if stopping:
                    break
            if exiting:
                self.exited = True
                # From here on no capture is taken; a daemon thread may have made some until now.
                self.error = self._ended()
                captured = self.captured
                self._drain(captured, hurry=True)
                if captured > self._sealer.rows:
                    self._seal(captured)
            self.files.end()
            self.holding.let_go(sealed=self.complete)
        except Exception as error:  # noqa: BLE001 - handed to the training thread, whatever it is
            self.error = self._explain(error)
        finally:
            self.files.end()
            self._finished.set()
            if self._abandoned:
                self.holding.let_go(sealed=False)

    def _land(self, in_flight: InFlight) -> None:
        """Put what has crossed from a device into the journal, until there is no more to come."""
        try:
            while self.error is None:
                self._land_wake.wait(_POLL_SECONDS)
                self._land_wake.clear()
                ending = self._stopping or interpreter_ends()
                self.captured = in_flight.land(wait=ending or self._flush_to > self.captured)
                if ending:
                    return
        except Exception as error:  # noqa: BLE001 - handed to the training thread, whatever it is
            self.error = self._explain(error)

    def _make_ready(self, captured: int, rows: int) -> None:
        """Take the faults of the slots that are next, so many rows having come in the last pause."""
        free = self.released + self._journal.slots - captured
        stop = captured + min(max(_READY_TIMES * rows, _READY_ROWS), free)
        first = max(self._ready, captured)
        if first < stop:
            self._journal.ready(first, stop - first)
            self._ready = stop

    def _seal(self, stop: int) -> None:
        # Looked at while the slot is still this row's.
        step, _, _ = self._journal.head(stop - 1)
        self._sealer.seal(self._journal, stop)
        self._sealed_step = step

    def _sync(self) -> None:
        """Have the unsealed rows survive a power cut, if that was asked for and is due."""
        if self._sync_seconds is None:
            return
        durable = max(self._durable, self._sealer.rows)
        waiting = self.drained - durable
        by_time = time.monotonic() - self._synced_at >= self._sync_seconds
        if waiting > 0 and (by_time or (self._sync_steps is not None and waiting >= self._sync_steps)):
            self._journal.sync()
            self._synced_at = time.monotonic()
            # Every page was written just now.
            self._ready = self.drained
            durable = self.drained
        if durable > self._durable:
            self._durable = durable
            # The slots of a sealed block may be filled again already.
            sealed = durable == self._sealer.rows
            self.durable_step = self._sealed_step if sealed else self._journal.head(durable - 1)[0]

    def _drain(self, captured: int, *, hurry: bool) -> None:
        """Have rows made into files, and full blocks of them sealed: with ``hurry``, all that are there."""
        self.files.listen()
        while self.drained < captured:
            # A block is released before the next is begun.
            stop = min(captured, (self.drained // self._block_steps + 1) * self._block_steps)
            for row in range(self._looked_at, stop):
                self._journal.seal(row)
                self._stillness.look(row)
                self._looked_at = row + 1
            waiting = captured - self.files.done
            hurried = hurry or waiting >= _HURRY_SHARE * self._journal.slots
            self.drained = self.files.reach(stop, hurry=hurried)
            if self.drained < stop:
                return
            if stop % self._block_steps == 0:
                self._seal(stop)
                self.released = stop

    def _ended(self) -> RecordingError:
        return RecordingError(
            f"the interpreter is ending: nothing more is recorded in {self.holding.root}. What was captured "
            "before the main thread ended is sealed."
        )

    def _explain(self, error: Exception) -> RecordingError:
        row = max(0, min(self.files.done, self.captured - 1))
        step = self._journal.head(row)[0] if self.captured else 0
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else repr(error)
        failed, ring = f"writing step {step} failed at {what}.", self._journal.path
        # It raises nothing, unlike that of a path.
        if os.path.exists(ring):  # noqa: PTH110
            explained = RecordingError(
                f"{failed} The first {self._sealer.rows} rows are sealed in the run, those captured after "
                f"them are safe in {ring}. Mend the cause, then run: embevo recover "
                f"{shlex.quote(str(self.holding.root))}"
            )
        else:
            explained = RecordingError(
                f"{failed} Somebody has removed {ring}: rows that are not sealed are gone with it, unless "
                "the run was moved: then run embevo recover where it is now. Record into another directory, "
                "or remove what is left of this one first."
            )
        explained.__cause__ = error
        return explained
