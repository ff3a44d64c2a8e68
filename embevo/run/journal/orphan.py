"""The process that made files for a writer: it ends with that one, and its end is waited for."""

import errno
import os
import time
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError, RunInUseError
from embevo.run.disk.lock import NO_LOCKS
from embevo.run.disk.regular_file import open_regular
from embevo.run.disk.system import fcntl

# It makes at most one more file. That takes longer only where a disk has come to a halt.
PATIENCE_SECONDS = 30.0
_LOOK_SECONDS: Final = 0.001


def wait_for_orphan(journal: Path) -> None:
    """Return when no process of an earlier writer makes files of this run any more.

    It locks the ring before it makes the first, for as long as it lives. The caller holds the lock of the
    run, so that its parent is gone, without which it makes none: what is free once stays free.

    Raises:
        RunInUseError: it does not end.
    """
    try:
        descriptor = open_regular(journal)
    except (OSError, DamagedError):
        # What cannot be opened, or is no file, it cannot have locked.
        return
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in {*NO_LOCKS, errno.EBADF}:
                    # It could not lock it either, and so it made none.
                    return
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
            else:
                return
            if time.monotonic() > end:
                raise RunInUseError(_unending(journal, descriptor))
            time.sleep(_LOOK_SECONDS)
    finally:
        os.close(descriptor)


def _unending(journal: Path, descriptor: int) -> str:
    pid = _who_locks(descriptor)
    which = f"process {pid}" if pid else "a process"
    how = f"kill -9 {pid}" if pid else f"fuser -k {journal} ends it"
    return (
        f"{journal.parent} is still being written by {which}, which made files for a writer that is gone "
        f"and has not ended in {PATIENCE_SECONDS:g} s. Nothing is lost by ending it: {how}. Then try again."
    )


def _who_locks(descriptor: int) -> int:
    """The process that holds a file's lock, as Linux lists them; 0 where that cannot be told."""
    inode = os.fstat(descriptor).st_ino
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF; one that waits has an arrow behind its number.
        words = line.split()
        if len(words) == 8 and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return 0
