"""Frames of Blosc that take less work than Blosc's own, and that every Blosc reads.

A frame is a header; for each of its blocks the place where that begins; and the blocks. A block of bytes that
were shuffled is a stream for each byte of an element: its length, and its bytes, compressed, or as they are
where that is no longer.
"""

import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numcodecs.lz4 import compress
from numpy.typing import NDArray

from embevo.run.format.effort import CODEC_SHIFT, FRAME_HEAD, FRAME_VERSION, LZ4, SHUFFLED, STORED

#: From so many elements on, Blosc takes a block for one that is divided into streams.
LEAST_ELEMENTS: Final = 128
_CODEC_VERSION: Final = 1
_LENGTH: Final = struct.Struct("<i")
# numcodecs puts the length of what was compressed before it.
_BEFORE: Final = 4
# What LZ4 makes of a byte that repeats: for each so many a byte more, and a few at both ends.
_LONGEST_REPEAT: Final = 255
_REPEAT_BYTES: Final = 16
# How soon LZ4 gives up looking for what it has seen before: 1 finds most.
_ACCELERATION: Final = 1


def frame_bytes(elements: int, itemsize: int) -> int:
    """Length of a frame that holds its elements as they are."""
    return FRAME_HEAD.size + elements * itemsize


def stored_frame(elements: int, itemsize: int, whole: NDArray[np.uint8]) -> NDArray[Any]:
    """Make ``whole``, ``(byte,)``, a frame that holds its elements as they are.

    Returns:
        Where the bits of the elements go, ``(element,)``.
    """
    size = elements * itemsize
    length = FRAME_HEAD.size + size
    flags = STORED | LZ4 << CODEC_SHIFT
    FRAME_HEAD.pack_into(whole.data, 0, FRAME_VERSION, _CODEC_VERSION, flags, itemsize, size, size, length)
    return whole[FRAME_HEAD.size : length].view(f"u{itemsize}")


def halves_bytes(elements: int) -> int:
    """Length of the frame of :func:`stored_halves`."""
    return _start_of_streams() + 2 * len(_stream_of_zeros(elements)) + 2 * (_LENGTH.size + elements)


def halves_bytes_at_most(elements: int) -> int:
    """The same from above, by few bytes, of any number of elements: no stream is made for it."""
    zeros = _LENGTH.size + elements // _LONGEST_REPEAT + _REPEAT_BYTES
    return _start_of_streams() + 2 * zeros + 2 * (_LENGTH.size + elements)


def stored_halves(halves: NDArray[np.uint16], whole: NDArray[np.uint8]) -> None:
    """Make ``whole``, ``(byte,)``, the frame of the uint32 whose upper halves are these, the lower ones 0.

    It holds them as they are. The streams of the zeros take next to nothing, so that it is half as long as
    the frame that holds all.

    Args:
        halves: ``(element,)``, at least ``LEAST_ELEMENTS`` of them, contiguous.
        whole: of the length that :func:`halves_bytes` gives.
    """
    zeros = _stream_of_zeros(halves.size)
    head = _head_of_halves(halves.size, halves_bytes(halves.size)) + zeros + zeros
    whole[: len(head)] = np.frombuffer(head, np.uint8)
    place = len(head)
    for plane in range(2):
        _LENGTH.pack_into(whole.data, place, halves.size)
        _split(halves, plane, whole[place + _LENGTH.size : place + _LENGTH.size + halves.size])
        place += _LENGTH.size + halves.size


def fast_halves(halves: NDArray[np.uint16]) -> list[NDArray[np.uint8]]:
    """As :func:`stored_halves`, compressed with LZ4, in pieces that follow each other."""
    zeros = np.frombuffer(_stream_of_zeros(halves.size), np.uint8)
    streams = [zeros, zeros]
    for plane in range(2):
        stream = np.empty(halves.size, np.uint8)
        _split(halves, plane, stream)
        packed = compress(stream, _ACCELERATION)
        if len(packed) - _BEFORE < halves.size:
            stream = np.frombuffer(packed, np.uint8)[_BEFORE:]
        streams += [np.frombuffer(_LENGTH.pack(len(stream)), np.uint8), stream]
    length = _start_of_streams() + sum(map(len, streams))
    return [np.frombuffer(_head_of_halves(halves.size, length), np.uint8), *streams]


def _split(halves: NDArray[np.uint16], plane: int, out: NDArray[np.uint8]) -> None:
    """The lower bytes, or the upper ones."""
    if plane == 0:
        np.copyto(out, halves, casting="unsafe")
    else:
        np.right_shift(halves, 8, out=out, dtype=np.uint16, casting="unsafe")


def _start_of_streams() -> int:
    # One block, so one place.
    return FRAME_HEAD.size + _LENGTH.size


def _head_of_halves(elements: int, length: int) -> bytes:
    size = 4 * elements
    flags = SHUFFLED | LZ4 << CODEC_SHIFT
    head = FRAME_HEAD.pack(FRAME_VERSION, _CODEC_VERSION, flags, 4, size, size, length)
    return head + _LENGTH.pack(_start_of_streams())


@lru_cache(maxsize=16)
def _stream_of_zeros(length: int) -> bytes:
    packed = bytes(compress(np.zeros(length, np.uint8), _ACCELERATION))[_BEFORE:]
    return _LENGTH.pack(len(packed)) + packed
