"""Writing past the kernel's cache, where bytes cost a second copy, and a third when they leave it.

A file of which everything is known before it is written, and that nobody will read soon, needs neither: the
disk takes the bytes from where they lie. That costs a quarter of the time of a core, and waits for the disk.
"""

import contextlib
import errno
import os
from typing import Final

from embevo.run.disk.system import fcntl

#: Smaller files are not worth it.
LEAST_BYTES: Final = 1 << 18
# What places in memory and in the file are to be multiples of; disks ask for 512 or this.
_ALIGNED: Final = 4096
#: The flag for opening a file; 0 where the system has none.
DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
#: What a file system answers that does not offer it, or wants other places.
REFUSED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def write_direct(descriptor: int, view: memoryview) -> memoryview:
    """Write the beginning of a file that was opened with :data:`DIRECT`, and let the rest go the usual way.

    Returns:
        What was not written: the end that is no whole number of pages, or everything where it is refused.

    Raises:
        OSError: the disk is full, or broken.
    """
    stop = len(view) // _ALIGNED * _ALIGNED
    done = 0
    try:
        while done < stop and done % _ALIGNED == 0:
            done += os.write(descriptor, view[done:stop])
    except OSError as error:
        if error.errno not in REFUSED:
            raise
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~DIRECT)
    return view[done:]
