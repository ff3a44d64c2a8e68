"""The binary pieces that the page is sent: the places, or the black holes, of all tokens at some rows.

All numbers are little-endian. A piece begins with 32 bytes: the text ``EMBV``; uint32 version (1); uint32
kind (0: float32 places, 1: uint16 places, 2: uint32 representatives); uint32 number of rows R; uint32 number
of tokens N; uint32 numbers a token C; 8 bytes of zeros. Then, for kind 1, C float32 offsets and C float32
scales: a place is offset + scale * number, and 65,535 stands for what is not a number. Then R * N * C
numbers.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = struct.Struct("<4sIIIII8x")
_VERSION: Final = 1
_NOT_A_NUMBER: Final = 65_535
FLOAT32, UINT16, REPRESENTATIVES = 0, 1, 2


def pack_places(places: NDArray[np.float32], *, rounded: bool) -> bytes:
    """A piece of ``(row, token, 3)`` places; exact, or ``rounded`` to 1 / 65,534 of their range."""
    head = _HEADER.pack(b"EMBV", _VERSION, UINT16 if rounded else FLOAT32, *places.shape)
    if not rounded:
        return head + places.astype("<f4").tobytes()
    finite = np.isfinite(places)
    low = np.where(finite, places, np.inf).min(axis=(0, 1), initial=np.inf)
    high = np.where(finite, places, -np.inf).max(axis=(0, 1), initial=-np.inf)
    offset = np.where(np.isfinite(low), low, 0).astype("<f4")
    width = np.where(np.isfinite(low), high - low, 0)
    scale = (width / (_NOT_A_NUMBER - 1)).astype("<f4")
    steps = np.where(scale > 0, scale, 1)
    with np.errstate(invalid="ignore"):
        numbers = np.rint((places - offset) / steps)
    numbers = np.where(finite, np.clip(numbers, 0, _NOT_A_NUMBER - 1), _NOT_A_NUMBER).astype("<u2")
    return head + offset.tobytes() + scale.tobytes() + numbers.tobytes()


def pack_representatives(same: NDArray[np.int64]) -> bytes:
    """A piece of ``(row, token)`` positions of the first token whose vector has the same bits."""
    return _HEADER.pack(b"EMBV", _VERSION, REPRESENTATIVES, *same.shape, 1) + same.astype("<u4").tobytes()
