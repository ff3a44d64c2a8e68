"""Making the pages of a mapped file ready to be stored into, before somebody has to wait for it."""

import ctypes
import sys
from typing import Final

# MADV_POPULATE_WRITE, of Linux 5.14; older kernels refuse it, and nothing is lost.
_POPULATE_WRITE: Final = 23
# The address space is locked for so many bytes at a time.
_PIECE: Final = 4 << 20

if sys.platform == "linux":
    _madvise = ctypes.CDLL(None).madvise
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def populate(address: int, length: int) -> None:
        """Take the write faults of a page-aligned range of a mapping, without the interpreter lock."""
        for start in range(0, length, _PIECE):
            if _madvise(address + start, min(_PIECE, length - start), _POPULATE_WRITE):
                return

else:

    def populate(address: int, length: int) -> None:
        """Elsewhere there is no such call: whoever stores takes the faults."""
