"""Who makes the safetensors file of each row: the writer thread, or a process beside it where they are many.

Each system call of a thread hands the interpreter lock over, and has to win it back from the training. A file
takes four of them. A process of its own needs no lock, and can be given only what cores have left. Where they
have nothing left, files do not wait for ever: after some seconds they are made as if there was a hurry.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal

from embevo.run.journal.ring import Journal
from embevo.run.writing import snapshot_process
from embevo.run.writing.sealing import Sealer
from embevo.run.writing.snapshot_process import ORDER, REPORT, Work

# A process is worth its start when so many files were made, at so many a second. Of twenty a second it took
# more from a training that uses all cores than the thread does: 5 % of a step of embevo train, against 2 %.
STARTS_AFTER_FILES: Final = 200
STARTS_AT_RATE: Final = 100
# A file that has waited for an idle core for so long is made on a busy one.
LATE_SECONDS: Final = 5.0
# One that says nothing for so long, while there is a hurry, is given up.
PATIENCE_SECONDS: Final = 10.0


class SnapshotFiles:
    """Has the files made, in the order of the rows; all of it belongs to the writer thread.

    A process that cannot be started, fails or is killed loses nothing: the thread goes on where it was.

    Attributes:
        done: rows below this one have their files.
        in_process: whether a process makes them now.
    """

    def __init__(self, journal: Journal, sealer: Sealer, row: int) -> None:
        """Begin with a row."""
        self.done = row
        self.in_process = False
        self._journal = journal
        self._sealer = sealer
        self._ordered = row
        # A row whose file is waited for, and since when.
        self._awaited: tuple[int, float] | None = None
        self._files = 0
        self._since = time.monotonic()
        self._ended_in_process = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._received = b""
        self._may_start = (
            sealer.files_alone
            and journal.seals_at_capture
            and sys.platform == "linux"
            # Where Python is part of another program, that program is not started a second time.
            and Path(sys.executable or "").name.startswith(("python", "pypy"))
            and Path(snapshot_process.__file__).is_file()
        )

    @property
    def maker(self) -> Literal["none", "thread", "process"]:
        """Who makes the files of coming rows; after the end, who has made the last ones."""
        if not self._sealer.makes_files:
            return "none"
        return "process" if self.in_process or self._ended_in_process else "thread"

    def reach(self, stop: int, *, hurry: bool) -> int:
        """Have the rows below ``stop`` made into files; rows below what it returns have theirs.

        With ``hurry``, or when one of them has waited for long, that is all of them.

        Raises:
            OSError: with the path; the rows below ``done`` have their files.
        """
        self.listen()
        if self.in_process:
            self._order(stop, hurry=hurry or self._late(stop))
        if not self.in_process:
            self._make(stop)
        return self.done

    def end(self) -> None:
        """Have no process any more."""
        self._may_start = False
        self._ended_in_process = self._ended_in_process or self.in_process
        # One that is not ready has begun nothing.
        self._give_up(patience=PATIENCE_SECONDS if self.in_process else 0)

    def _late(self, stop: int) -> bool:
        """Whether the file of a row below ``stop`` is waited for since long."""
        now = time.monotonic()
        if self._awaited is None or self.done > self._awaited[0]:
            self._awaited = (stop - 1, now) if self.done < stop else None
        return self._awaited is not None and now - self._awaited[1] >= LATE_SECONDS

    def _make(self, stop: int) -> None:
        for row in range(self.done, stop):
            self._sealer.snapshot(self._journal, row)
            self.done = row + 1
            self._files += 1
        if self._may_start and self._files >= STARTS_AFTER_FILES:
            now = time.monotonic()
            if self._files >= STARTS_AT_RATE * (now - self._since):
                self._may_start = False
                self._start()
            self._files, self._since = 0, now

    def _start(self) -> None:
        """Start the process; it is given work once it says that it is ready."""
        first, stride, image, length = self._journal.images_place
        try:
            work = Work(
                str(self._journal.path),
                self._journal.path.stat().st_ino,
                self._journal.slots,
                first,
                stride,
                image,
                length,
                str(self._sealer.snapshots),
                self.done,
                os.getpid(),
            )
            ours, theirs = socket.socketpair()
            with theirs:
                ours.setblocking(False)
                self._socket = ours
                self._process = subprocess.Popen(
                    # Isolated, and without what is installed: it needs the standard library alone.
                    [sys.executable, "-I", "-S", snapshot_process.__file__, json.dumps(work._asdict())],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # An interrupt from the keyboard is the training's. It stays in the session, because the
                    # scheduler may weigh whole sessions, and would give one of its own a core.
                    process_group=0,
                )
        except (OSError, RuntimeError, ValueError):
            # No descriptors, no processes, no permission, or an interpreter that ends.
            self._give_up(patience=0)

    def _order(self, stop: int, *, hurry: bool) -> None:
        if self._socket is None or (stop <= self._ordered and not (hurry and self.done < stop)):
            return
        try:
            # The process may be gone, and the training's own handling of SIGPIPE is not known.
            self._socket.send(ORDER.pack(stop, hurry), socket.MSG_NOSIGNAL)
        except OSError:
            self._give_up(patience=0)
            return
        self._ordered = stop
        while hurry and self.in_process and self.done < stop:
            self.listen(wait=True)

    def listen(self, *, wait: bool = False) -> None:
        """Take what the process has said, if there is one; it is given up when that is its end."""
        if self._socket is None:
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(PATIENCE_SECONDS * 1000 if wait else 0):
            if wait:
                self._give_up(patience=0)
            return
        try:
            received = self._socket.recv(1 << 16)
        except OSError:
            received = b""
        self._received += received
        whole = len(self._received) // REPORT.size * REPORT.size
        for (row,) in REPORT.iter_unpack(self._received[:whole]):
            if not self.in_process:
                # It is ready. What was made since it was started, it need not make.
                self.in_process = True
                self._ordered = row
            self.done = max(self.done, row)
        self._received = self._received[whole:]
        if not received:
            self._give_up(patience=0)

    def _give_up(self, *, patience: float) -> None:
        """End the process, by itself or else not, so that what follows is made by this thread alone."""
        self.in_process = False
        if self._socket is not None:
            # A forked child of the training, such as a worker of a data loader, has it open too.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            if patience:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
            self._process.kill()
            self._process.wait()
            self._process = None
