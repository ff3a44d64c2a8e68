"""One writer at a time: an advisory lock that the kernel drops when its process dies."""

import fcntl
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError, RunInUseError
from embevo.run.disk.regular_file import not_regular, open_regular

# A reader that looks who is writing holds the lock for an instant; that must not turn a writer away.
_TRIES: Final = 20
_TRY_SECONDS: Final = 0.005


class WriterLock:
    """Holds the lock from construction to :meth:`release`; the file says who holds it."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            RunInUseError: another process holds it; the message names its pid and host.
        """
        self._path = path
        tries = 0
        while True:
            self._descriptor = _open(path)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(self._descriptor, 4096, 0)
                os.close(self._descriptor)
                tries += 1
                if tries < _TRIES:
                    time.sleep(_TRY_SECONDS)
                    continue
                raise RunInUseError(
                    f"{path.parent} is being written by {_describe(owner)}. "
                    "Wait until that is done, stop it, or record into another directory."
                ) from error
            # Its last holder may have removed the file between our opening and locking it.
            try:
                if os.path.samestat(os.fstat(self._descriptor), path.stat()):
                    break
            except FileNotFoundError:
                pass
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(
            self._descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0
        )

    def release(self) -> None:
        """Remove the file and drop the lock."""
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


def _open(path: Path) -> int:
    # Through a link, somebody else's file would be overwritten.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_regular(path)
    return descriptor


def writer_of(path: Path) -> str | None:
    """Who holds the lock at this path, as "process 123 on host"; None when nobody does."""
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, DamagedError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _describe(os.pread(descriptor, 4096, 0))
    finally:
        os.close(descriptor)
    return None


def _describe(owner: bytes) -> str:
    try:
        fields = json.loads(owner)
        return f"process {fields['pid']} on {fields['host']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
