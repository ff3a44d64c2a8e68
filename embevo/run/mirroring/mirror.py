"""A run is sent to object storage while it is recorded, by a thread of its own that nobody waits for.

What is to be sent is read from the sealed files: memory holds none of it, and an outage only means that more
of them wait.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final

from embevo.errors import EmbevoError, RunInUseError, StorageError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.patience import Patience
from embevo.run.mirroring.claim import WRITER, check_same, identity_of
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.writing.sink import SealedBlock

_LOOK_SECONDS: Final = 0.25
# Begins as those of a writer's threads do: none of them keeps a recording alive.
_NAME: Final = "embevo-mirror"


@dataclass(frozen=True)
class MirrorStats:
    """How far a run has been sent.

    Attributes:
        url: where to.
        rows: that are shown there.
        waiting: blocks that are sealed and not sent yet.
        sent_bytes: so far, by this recorder.
        retries: how often something was asked for again.
        last_error: why it does not go on just now; empty if it does.
        stopped: whether it will not go on by itself.
    """

    url: str
    rows: int
    waiting: int
    sent_bytes: int
    retries: int
    last_error: str
    stopped: bool


class Mirror:
    """Sends a run as its blocks are sealed; a sink that keeps nothing and waits for nothing."""

    def __init__(self, url: object, *, wait: float) -> None:
        """To a URL; nothing is asked of the network yet.

        Args:
            url: of a prefix that is the run's own.
            wait: seconds that are given to what is left when the recording has ended.

        Raises:
            ArgumentError: it is no URL of object storage, or carries something secret.
            MissingLibraryError: obstore is not installed.
        """
        self._patience = Patience()
        self._bucket = Bucket(url, self._patience)
        self.url = self._bucket.url
        self._wait = wait
        self._block_steps = 1
        self._sealed = 0
        self._pusher: Pusher | None = None
        self._failure: EmbevoError | OSError | None = None
        self._handed_over = False
        self._finished = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self, paths: RunPaths, *, resumed: bool) -> str:
        """Look once whether the run can go there, before anything is recorded.

        Returns:
            Why that cannot be told now; empty if it can go there.

        Raises:
            RunExistsError: something else is there.
            StorageRefusedError: there is no such bucket, or no permission.
        """
        bucket = Bucket(self.url, Patience(0))
        try:
            there = bucket.get(WRITER)
            run = identity_of(paths, make=False) if resumed else None
            check_same(bucket, there, run)
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            return str(error)
        return ""

    def begin(self, paths: RunPaths, *, block_steps: int, rows: int) -> None:
        """Start the thread for a run that is in its place, with so many sealed rows."""
        self._block_steps, self._sealed = block_steps, max(rows, self._sealed)
        thread = threading.Thread(target=self._run, args=(paths,), name=_NAME, daemon=False)
        try:
            thread.start()
        except RuntimeError as error:
            # The interpreter is ending, and starts no thread any more.
            self._failure = StorageError(f"{self.url}: nothing is sent any more: {error}")
            return
        self._thread = thread

    def snapshot(self, step: int, image: memoryview) -> None:
        """Nothing: snapshots are sent with their block, where they are."""

    def block(self, sealed: SealedBlock) -> None:
        """Note that there is more to send."""
        self.reached(sealed.entry.stop)

    def reached(self, rows: int) -> None:
        """Note that so many rows of the run are sealed."""
        self._sealed = rows
        self._wake.set()

    def hand_over(self) -> None:
        """Let another process of the training take over: it sends everything that is not there by then."""
        self._handed_over = self._failure is None

    def finish(self) -> None:
        """Nothing more will be sealed; takes no lock, as it may be called while garbage is collected."""
        if self._patience.deadline is None:
            self._patience.deadline = time.monotonic() + self._wait

    def close(self) -> str:
        """Give what is left its time, and end the thread.

        Returns:
            What was not sent and what to do about it; empty if everything is there.
        """
        self.finish()
        self._wake.set()
        if self._thread is not None:
            # An interrupt during join makes Python 3.11 take the thread for finished.
            self._finished.wait(self._wait)
            self._patience.ended.set()
            self._finished.wait()
            self._thread.join()
        stats = self.stats
        if not stats.waiting and not stats.stopped:
            return ""
        if self._handed_over and isinstance(self._failure, RunInUseError):
            return ""
        why = stats.last_error or "there was not time enough"
        return f"{stats.waiting} blocks were not sent to {self.url}: {why}"

    @property
    def stats(self) -> MirrorStats:
        """How far it is."""
        pusher = self._pusher
        rows = max(0, pusher.rows) if pusher is not None else 0
        size = self._block_steps
        waiting = -(-self._sealed // size) - rows // size if rows < self._sealed else 0
        error = self._patience.last_error or ("" if self._failure is None else str(self._failure))
        return MirrorStats(
            self.url,
            rows,
            waiting,
            pusher.sent_bytes if pusher is not None else 0,
            self._patience.retries,
            error,
            self._failure is not None,
        )

    def _run(self, paths: RunPaths) -> None:
        try:
            pusher = self._pusher = Pusher(paths, self._bucket)
            ending = False
            while not ending:
                # Read before it is looked at what is sealed: what was sealed by then is seen.
                ending = self._patience.deadline is not None
                pusher.push()
                while not ending and self._patience.deadline is None and not self._wake.wait(_LOOK_SECONDS):
                    pass
                self._wake.clear()
        except (EmbevoError, OSError) as error:
            self._failure = error
        finally:
            self._finished.set()
