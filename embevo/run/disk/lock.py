"""One writer at a time: a lock that ends with the process that took it.

Where the file system has ``flock``, the kernel keeps the lock. Where it has none, the file itself is the
lock: it is made only where there is none, and a later writer takes its place when the process that it names
is gone for certain. The file names its owner either way: a child that was forked past the interpreter keeps
an open descriptor, and with it the kernel's lock, longer than its owner lives.
"""

import contextlib
import errno
import json
import os
import stat
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from embevo.errors import DamagedError, NotARunError, RunInUseError, WeakerPromiseWarning
from embevo.run.disk.process import is_alive, this_process
from embevo.run.disk.rank import among_ranks
from embevo.run.disk.regular_file import not_regular, open_regular
from embevo.run.disk.system import fcntl

# A reader that looks who is writing holds the lock for an instant; that must not turn a writer away.
_TRIES: Final = 20
_TRY_SECONDS: Final = 0.005
# What flock says of a file system that has no locks: NFS without its lock daemon, Lustre mounted without
# them, FUSE and other file systems that do not know the call.
NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})

# Descriptors of the locks that this process holds. Forking waits until none is being taken or let go.
_held: Final[set[int]] = set()
_forking: Final = threading.RLock()


def _close_inherited() -> None:
    """In a forked child: the lock is the parent's, and must not outlive it in an open descriptor."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _forking.release()


os.register_at_fork(
    before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_inherited
)


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        name: "process 123 on host".
        certain: whether it is known to live; False where this machine cannot tell.
    """

    name: str
    certain: bool


class WriterLock:
    """Holds the lock from construction to :meth:`release`; the file says who holds it."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            RunInUseError: another process holds it; the message names its pid and host.
            OSError: with the path; the disk is full, or nothing can be written there.
        """
        self._path = path
        self._pid = os.getpid()
        for attempt in range(_TRIES):
            time.sleep(_TRY_SECONDS if attempt else 0)
            with _forking:
                taken = _take(path)
                if isinstance(taken, int):
                    self._descriptor = taken
                    return
        raise RunInUseError(f"{path.parent} is being written by {taken}{among_ranks()}")

    def release(self) -> None:
        """Remove the file and drop the lock; in a forked child, which does not hold it, nothing."""
        if os.getpid() != self._pid:
            return
        with _forking:
            try:
                if _is_at(self._descriptor, self._path):
                    self._path.unlink(missing_ok=True)
            finally:
                _held.discard(self._descriptor)
                os.close(self._descriptor)


def lock_run(path: Path) -> WriterLock:
    """Take the lock of a run that is there.

    Raises:
        NotARunError: there is no such directory.
        RunInUseError: another process holds it.
        OSError: with the path; nothing can be written there.
    """
    try:
        return WriterLock(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotARunError(f"{path.parent} is not a run: there is no such directory") from error


def writer_of(path: Path) -> Owner | None:
    """Who holds the lock at this path; None when nobody does."""
    # A child forked meanwhile would keep the descriptor, and turn writers away.
    with _forking:
        try:
            descriptor = open_regular(path)
        except (FileNotFoundError, DamagedError):
            return None
        try:
            locked = _flock(descriptor, fcntl.LOCK_SH)
            owner = _owner(descriptor)
        finally:
            os.close(descriptor)
    alive = is_alive(owner)
    if alive is False or (locked == "ours" and not _kept_by_file(owner)):
        return None
    # Somebody holds the kernel's lock; only its name may be unknown.
    return Owner(_describe(owner), certain=alive is True or locked == "held")


def _take(path: Path) -> int | str:
    """Try once: a descriptor that holds the lock, or who holds it and what can be done, for a message."""
    descriptor, created = _open(path)
    try:
        locked = _flock(descriptor, fcntl.LOCK_EX)
        owner = _owner(descriptor)
        dead = is_alive(owner) is False
        if locked == "ours" and (dead or not _kept_by_file(owner)):
            # Written before the look at the successor, which looks at it after it has come to be.
            _sign(descriptor, "flock")
            # Its last holder may have removed the file between our opening and locking it.
            if _is_at(descriptor, path) and not _has_successor(path):
                return _keep(descriptor)
            return f"{_describe(_owner(descriptor))}. Try again."
        if locked == "unknown" and created:
            _sign(descriptor, "file")
            _warn_of(path)
            return _keep(descriptor)
        if dead:
            successor = _succeed(path, descriptor, by_kernel=locked != "unknown")
            if successor is not None:
                return _keep(successor)
            now = f"somebody who takes the place of {_describe(owner)} right now"
            return f"{now}. {_by_hand(_beside(path)) if locked == 'unknown' else 'Try again.'}"
        return f"{_describe(owner)}. {_advice(path, owner, by_kernel=locked == 'held')}"
    except OSError as error:
        # A lock that says nobody's name would be taken for another writer's where there is no flock.
        if created and _is_at(descriptor, path):
            path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    finally:
        if descriptor not in _held:
            os.close(descriptor)


def _keep(descriptor: int) -> int:
    _held.add(descriptor)
    return descriptor


def _succeed(path: Path, dead: int, *, by_kernel: bool) -> int | None:
    """Put a lock of our own in the place of one whose owner is gone; None when another process is doing that.

    The own lock is taken beside, under a name that only one can hold, and moved over the other.
    """
    beside = _beside(path)
    descriptor, created = _open(beside)
    try:
        if by_kernel:
            alone = _flock(descriptor, fcntl.LOCK_EX) == "ours" and _is_at(descriptor, beside)
        else:
            alone = created
        if not alone:
            return None
        _sign(descriptor, "flock" if by_kernel else "file")
        # Looked at again: only who holds the place beside may replace it, or who has just locked it.
        free = not by_kernel or _flock(dead, fcntl.LOCK_EX) == "held"
        if free and _is_at(dead, path) and is_alive(_owner(dead)) is False:
            beside.replace(path)
            if not by_kernel:
                _warn_of(path)
            taken, descriptor = descriptor, -1
            return taken
        beside.unlink(missing_ok=True)
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _has_successor(path: Path) -> bool:
    """Whether somebody is about to replace a lock; what a killed one has left behind is removed."""
    beside = _beside(path)
    if not beside.exists():
        return False
    descriptor, _ = _open(beside)
    try:
        if _flock(descriptor, fcntl.LOCK_EX) != "ours":
            return True
        if _is_at(descriptor, beside):
            beside.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _open(path: Path) -> tuple[int, bool]:
    """Open the file, and whether it was made for that."""
    # Through a link, a file outside of the run would be overwritten.
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            pass
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            continue
        except OSError as error:
            if path.is_symlink() or path.is_dir():
                raise not_regular(path) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise not_regular(path)
        return descriptor, False


def _flock(descriptor: int, kind: int) -> Literal["ours", "held", "unknown"]:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return "unknown"
    return "ours"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int, kept_by: Literal["flock", "file"]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({**this_process(), "kept_by": kept_by}).encode(), 0)


def _owner(descriptor: int) -> Mapping[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _kept_by_file(owner: Mapping[str, Any]) -> bool:
    return owner.get("kept_by") == "file"


def _describe(owner: Mapping[str, Any]) -> str:
    if "pid" in owner and "host" in owner:
        return f"process {owner['pid']} on {owner['host']}"
    return "another process"


def _advice(path: Path, owner: Mapping[str, Any], *, by_kernel: bool) -> str:
    if owner.get("pid") == os.getpid() and is_alive(owner):
        return "That is this process: close its recorder first, or record into another directory."
    if by_kernel or is_alive(owner):
        return "Wait until that is done, stop it, or record into another directory."
    return _by_hand(path)


def _by_hand(path: Path) -> str:
    return (
        "This file system has no locks, and whether that process still lives cannot be told from here. If "
        f"you are sure that it does not, remove {path} and try again; nothing that was recorded is in it."
    )


def _warn_of(path: Path) -> None:
    warnings.warn(
        f"{path.parent}: this file system has no locks (flock). The file {path.name} names the writer "
        "instead: after a crash, a writer on another machine cannot tell that this one is gone, and that "
        "file must then be removed by hand.",
        WeakerPromiseWarning,
        stacklevel=4,
    )
