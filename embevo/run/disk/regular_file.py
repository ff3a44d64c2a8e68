"""Reading untrusted files: regular ones only, and no more than is expected.

A named pipe would be waited for, a device or a hole of a terabyte read until the memory is full.
"""

import errno
import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError

# What open() says of a symbolic link to itself, of a socket, of a path below a file, and of a directory
# or a link where neither may be written.
_NOT_REGULAR: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR})


def open_regular(path: Path, *, writable: bool = False) -> int:
    """A descriptor of an existing file; one that is written may not be a symbolic link either.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: what is there is not a regular file.
    """
    # Without O_NONBLOCK, opening a named pipe waits for somebody at its other end.
    flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDWR | os.O_NOFOLLOW if writable else os.O_RDONLY)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_regular(path)
    return descriptor


def links_among(paths: Iterable[Path]) -> list[Path]:
    """The paths that are symbolic links, wherever they lead."""
    return [path for path in paths if path.is_symlink()]


def through_link(path: Path) -> str:
    """Why embevo neither writes nor deletes there, and how that is mended without losing anything."""
    target = path.parent / path.readlink()
    place = shlex.quote(str(path))
    if not target.exists():
        return (
            f"{path} is a symbolic link to {target}, and there is nothing. Nothing was changed. If what "
            f"belongs there is gone, remove the link: rm {place}"
        )
    return (
        f"{path} is a symbolic link to {target}, and embevo neither writes nor deletes through links below a "
        "run directory; only the run directory as a whole may be one. Nothing was changed. Put what it "
        f"points to in its place: rm {place} && mv {shlex.quote(str(target))} {place}"
    )


def not_regular(path: Path) -> DamagedError:
    """What to raise of something else in the place of a file."""
    if path.is_symlink():
        return DamagedError(through_link(path))
    return DamagedError(
        f"{path} is not a regular file, which is all that embevo puts there. Move it away, then run embevo "
        "recover to rebuild what can be rebuilt."
    )


def read_regular(path: Path, at_most: int) -> bytes:
    """The bytes of a file of at most that many.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is not a regular file, or a longer one.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= at_most:
            try:
                return file.read(at_most)
            except MemoryError as error:
                raise DamagedError(f"{path} has {size:,} bytes, more than there is memory for") from error
    raise DamagedError(
        f"{path} has {size:,} bytes; at most {at_most:,} were expected: it is damaged, or another program's."
    )
