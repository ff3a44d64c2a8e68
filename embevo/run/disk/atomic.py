"""Whole files, or none: written beside under a ``.partial`` name and renamed into place."""

import contextlib
import errno
import os
import stat
import warnings
from pathlib import Path
from typing import Final

from embevo.errors import WeakerPromiseWarning
from embevo.run.disk.direct import DIRECT, LEAST_BYTES, REFUSED, write_direct
from embevo.run.disk.system import fcntl

PARTIAL: Final = ".partial"
# Files from this size on start on their way to the disk at once. Left to the kernel they pile up in memory
# for half a minute while the disk idles, and then everybody waits for it.
_LARGE_BYTES: Final = 1 << 20
# What fsync says of a directory on CIFS and other file systems that only sync files.
NO_SYNCING: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})


def write_file(path: Path | str, data: bytes | memoryview, *, sync: bool, direct: bool = False) -> None:
    """Write a file so that a reader sees the old bytes or all the new ones.

    Args:
        path: where the file goes; its directory exists.
        data: the bytes.
        sync: fsync the file before the rename and the directory after it, so that a power cut keeps it too.
        direct: write a large file past the kernel's cache, where that can be done.

    Raises:
        OSError: with the path; the file is then as it was before.
    """
    # Strings: one such call is made a step, and Path objects would take longer than the rest of it.
    name = str(path)
    partial = name + PARTIAL
    try:
        # What a link of that name points to is not embevo's to overwrite.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        past = DIRECT if direct and len(data) >= LEAST_BYTES else 0
        descriptor = _opened(partial, flags, past)
        try:
            view = memoryview(data)
            if past:
                view = write_direct(descriptor, view)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                flush(descriptor)
            elif len(data) >= _LARGE_BYTES and not past:
                _begin_writeback(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, name)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise OSError(error.errno, error.strerror, name) from error
    if sync:
        sync_file(Path(name).parent)


def _opened(path: str, flags: int, past: int) -> int:
    """A descriptor of a file, with the flags of ``past`` where the file system knows them."""
    try:
        return os.open(path, flags | past, 0o666)
    except OSError as error:
        if not past or error.errno not in REFUSED:
            raise
        return os.open(path, flags, 0o666)


def _begin_writeback(descriptor: int) -> None:
    """Have the kernel begin to write what is dirty, and do not wait for the end; it may not listen."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            # Linux does that before it forgets those pages that are clean, of which there are none yet.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def flush(descriptor: int) -> None:
    """Have the disk keep the bytes of a file, through its own cache too, as far as it can be told to."""
    through = getattr(fcntl, "F_FULLFSYNC", None)
    if through is not None:
        # On macOS, fsync leaves the bytes in the cache of the drive; some file systems there know no more.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, through)
            return
    os.fsync(descriptor)


def flushes_drives() -> bool:
    """Whether the system tells a drive to flush its cache only when it is asked for that by name."""
    return hasattr(fcntl, "F_FULLFSYNC")


def sync_file(path: Path) -> None:
    """Make the bytes of a file, or the names in a directory, survive a power cut; OSError names the path.

    Where the file system cannot sync directories, that is said in a ``WeakerPromiseWarning``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            flush(descriptor)
        except OSError as error:
            if error.errno not in NO_SYNCING or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise
            warnings.warn(
                f"this file system cannot sync directories ({error.strerror}): after a power cut, files that "
                "were written last may be missing, and the steps in them, although they were synced.",
                WeakerPromiseWarning,
                stacklevel=2,
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
