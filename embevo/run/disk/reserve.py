"""Reserving the blocks of a file that will be mapped, so that storing into it cannot run out of disk."""

import contextlib
import errno
import os
import struct
from typing import Final

from embevo.run.disk.system import fcntl

# What posix_fallocate says where a file system has no such call; the C library of some systems then writes
# to every block by itself.
NO_RESERVING: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})
_ZEROS: Final = bytes(1 << 20)


def reserve(descriptor: int, size: int) -> None:
    """Give an empty file its blocks: without them, storing through a mapping ends the process (SIGBUS).

    Raises:
        OSError: there is no room.
    """
    with contextlib.suppress(OSError):
        # btrfs copies on write even into reserved blocks, unless told not to while the file is empty.
        flags = struct.unpack("i", fcntl.ioctl(descriptor, 0x80086601, b"\0\0\0\0"))[0]
        fcntl.ioctl(descriptor, 0x40086602, struct.pack("i", flags | 0x00800000))
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in NO_RESERVING:
                raise
        else:
            return
    written = 0
    while written < size:
        written += os.pwrite(descriptor, _ZEROS[: size - written], written)
