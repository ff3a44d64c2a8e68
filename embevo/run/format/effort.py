"""How hard a block is compressed, and what tells it from the first bytes of a chunk.

Frames of Blosc say themselves how they were made, so that readers need to know nothing of it: a frame that
holds its bytes as they are, and one of LZ4, are read where the metadata of the array says zstd.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

#: ``none`` stores bytes as they are, ``fast`` uses LZ4, ``small`` what the metadata of the array says.
Effort = Literal["none", "fast", "small"]
#: What a recorder is asked for: one of them, or ``auto``, each block as far as training leaves idle cores.
AskedEffort = Literal["auto", "none", "fast", "small"]
#: From the least work to the most.
EFFORTS: Final[tuple[Effort, ...]] = ("none", "fast", "small")
#: Length of what a frame of Blosc begins with: version, codec's version, flags and typesize, a byte each; the
#: bytes that it holds; those of its blocks; and its own length.
FRAME_HEAD: Final = struct.Struct("<BBBBiii")
FRAME_VERSION: Final = 2
#: Flags: shuffled by bytes; stored as it is; and, from bit 5 on, the codec.
SHUFFLED, STORED, CODEC_SHIFT = 1, 2, 5
LZ4: Final = 1
_CODECS: Final = {"blosclz": 0, "lz4": 1, "lz4hc": 1, "snappy": 2, "zlib": 3, "zstd": 4}


def effort_of(head: bytes, metadata: Mapping[str, Any], *, halves: bool) -> Effort | None:
    """The effort that a chunk was made with; None if that is no frame of Blosc.

    Args:
        head: the first 16 bytes of the chunk.
        metadata: of the array.
        halves: whether 16-bit numbers were widened for it.
    """
    if len(head) < FRAME_HEAD.size:
        return None
    version, _, flags, _, size, _, length = FRAME_HEAD.unpack_from(head)
    if version != FRAME_VERSION:
        return None
    codec = flags >> CODEC_SHIFT
    # Of widened numbers, half of the bytes are zeros, which take no room: the others lie there as they are.
    if flags & STORED or (halves and codec == LZ4 and 2 * length >= size):
        return "none"
    return "small" if codec == _CODECS[blosc_of(metadata)["cname"]] else "fast"


def blosc_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of Blosc in the metadata of an array, sharded or not."""
    codecs = metadata["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = codecs[0]["configuration"]["codecs"]
    configuration: Mapping[str, Any] = next(
        codec["configuration"] for codec in codecs if codec["name"] == "blosc"
    )
    return configuration
