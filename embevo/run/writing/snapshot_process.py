"""The process beside the training that makes the safetensors files of captured rows.

It is started by the path of this file, and loads nothing but what it needs of the standard library, because
it has to be there in some milliseconds. It maps the ring, and makes a file of each row that it is told of
through the socket that is its standard input. There it also says how far it is.

Two threads make files. One has the policy SCHED_IDLE: it works where cores have nothing else to do, and takes
nothing from the training. The other works only when it is told that there is a hurry.

While it lives it holds the lock (``flock``) of the ring, and it makes no file before its parent, which holds
the lock of the run, has told it to. So whoever takes the run over from a parent that was killed has only to
wait for the lock of the ring: no file is made after that. It ends when its parent ends.
"""

import fcntl
import json
import mmap
import os
import select
import signal
import struct
import sys
from collections import deque
from threading import Condition, Thread
from typing import Final, NamedTuple, NoReturn

# To it: rows below this one may be made into files; whether there is a hurry.
ORDER: Final = struct.Struct("=qq")
# From it: rows below this one have their files. The first says that it is ready.
REPORT: Final = struct.Struct("=q")
# So many files are made from one report to the next.
REPORTED_FILES: Final = 64
_PARTIAL: Final = ".partial"
# How often it looks after its parent where the system cannot tell it.
_LOOK_MILLISECONDS: Final = 200


class Work(NamedTuple):
    """What it is to do, given to it as JSON.

    Attributes:
        journal: path of the ring.
        inode: of the file that is the ring.
        slots: of the ring.
        first: where the first slot begins, in bytes.
        stride: from slot to slot, in bytes.
        image: where a slot's image begins in it, in bytes.
        length: of an image, in bytes.
        snapshots: the directory of the files.
        row: the first row without a file.
        parent: the id of the process that has started it.
    """

    journal: str
    inode: int
    slots: int
    first: int
    stride: int
    image: int
    length: int
    snapshots: str
    row: int
    parent: int


class Files:
    """Makes files, in the order of the rows, in two threads."""

    def __init__(self, work: Work, memory: mmap.mmap, directory: int, socket: int) -> None:
        self._work = work
        self._memory = memoryview(memory)
        self._words = self._memory.cast("q")
        self._directory = directory
        self._socket = socket
        self._changed = Condition()
        self._waiting: deque[int] = deque()
        # What each thread is making, by its name.
        self._making: dict[str, int] = {}
        self._stop = work.row
        self._reported = work.row

    def add(self, stop: int) -> None:
        """Rows below this one are there to be made into files."""
        with self._changed:
            self._waiting.extend(range(self._stop, stop))
            self._stop = max(self._stop, stop)
            self._changed.notify()

    def idle(self) -> None:
        """Make files whenever there are some to be made; the loop of a thread of its own."""
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:
            # Then all that is done is done when there is a hurry.
            return
        try:
            while True:
                with self._changed:
                    while not self._waiting:
                        self._changed.wait()
                self.make("idle")
        except BaseException:  # noqa: BLE001 - whatever it is, the parent goes on by itself
            os._exit(1)

    def make(self, thread: str) -> None:
        """Make files until none is left to be begun."""
        while True:
            with self._changed:
                if not self._waiting:
                    return
                row = self._making[thread] = self._waiting.popleft()
            self._make(row)
            with self._changed:
                del self._making[thread]
                done = min(self._making.values(), default=self._waiting[0] if self._waiting else self._stop)
                if done >= self._reported + REPORTED_FILES or done == self._stop:
                    self._reported = done
                    os.write(self._socket, REPORT.pack(done))

    def _make(self, row: int) -> None:
        work = self._work
        start = work.first + row % work.slots * work.stride
        if os.getppid() != work.parent or self._words[start >> 3] != row + 1:
            os._exit(1)
        name = f"step_{self._words[(start >> 3) + 2]:07d}.safetensors"
        partial = name + _PARTIAL
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(partial, flags, 0o666, dir_fd=self._directory)
        image = self._memory[start + work.image : start + work.image + work.length]
        while image:
            image = image[os.write(descriptor, image) :]
        os.close(descriptor)
        os.rename(partial, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)


def serve(work: Work, socket: int) -> NoReturn:
    """Make files until the parent wants no more, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    journal = os.open(work.journal, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.fstat(journal).st_ino != work.inode:
        os._exit(1)
    size = work.first + work.slots * work.stride
    memory = mmap.mmap(journal, size, mmap.MAP_SHARED, mmap.PROT_READ)
    directory = os.open(work.snapshots, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    files = Files(work, memory, directory, socket)
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    look: int | None = None
    try:
        parent = os.pidfd_open(work.parent)
        poll.register(parent, select.POLLIN)
    except OSError:
        parent, look = -1, _LOOK_MILLISECONDS
    Thread(target=files.idle, daemon=True).start()
    os.write(socket, REPORT.pack(work.row))
    orders = b""
    while os.getppid() == work.parent:
        ready = [descriptor for descriptor, _ in poll.poll(look)]
        if parent in ready:
            break
        if socket not in ready:
            continue
        received = os.read(socket, 1 << 16)
        if not received:
            break
        orders += received
        whole = len(orders) // ORDER.size * ORDER.size
        for stop, hurry in ORDER.iter_unpack(orders[:whole]):
            files.add(stop)
            if hurry:
                files.make("hurried")
        orders = orders[whole:]
    os._exit(0)


if __name__ == "__main__":
    try:
        serve(Work(**json.loads(sys.argv[1])), 0)
    except BaseException:  # noqa: BLE001 - whatever it is, the parent goes on by itself
        os._exit(1)
