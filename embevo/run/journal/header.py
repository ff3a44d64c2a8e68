"""The head of a journal, before its slots: what it records, in how many slots, for which run, since when."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError, NotARunError
from embevo.run.disk.checksum import checksum
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.frame import FrameSpec

_MAGIC: Final = b"EMBEVO-J"
_FORMAT: Final = 2
PAGE: Final = 4096
HEAD_WORDS: Final = 4


@dataclass(frozen=True)
class Header:
    """What the head of a journal says.

    Attributes:
        frame: what a slot records.
        slots: their number.
        run: names the run that the journal belongs to; empty if that is not known.
        boot: of the machine that the journal was made on; empty if that is not known.
        host: the name of that machine; empty likewise.
        bytes: of the head, up to the first slot.
    """

    frame: FrameSpec
    slots: int
    run: str
    boot: str
    host: str
    bytes: int

    @property
    def origin(self) -> str:
        """The one machine, and its one boot, on which the pages are known to be what was stored."""
        if not self.boot:
            return ""
        return f"{self.host or 'the machine that made it'}, in its boot {self.boot}"


def align(size: int, to: int) -> int:
    """The next multiple."""
    return -(-size // to) * to


def header_of(frame: FrameSpec, slots: int, *, run: str, boot: str, host: str) -> bytes:
    """The first bytes of a journal, up to the zeros before its slots."""
    header = {
        "format": 1 if frame.is_plain else _FORMAT,
        "frame": frame.to_json(),
        "slots": slots,
        "run": run,
        "boot": boot,
        "host": host,
    }
    text = json.dumps(header).encode()
    return _MAGIC + struct.pack("<QQ", len(text), checksum(text)) + text


def journal_bytes(header: bytes, frame: FrameSpec, slots: int) -> int:
    """The length of a journal with this header."""
    return align(len(header), PAGE) + slots * slot_bytes(frame)


def header_is_whole(head: bytes) -> bool:
    """Whether the first bytes of a file are a journal's header with the right checksum."""
    if head[:8] != _MAGIC or len(head) < 24:
        return False
    length, expected = struct.unpack("<QQ", head[8:24])
    text = head[24 : 24 + length]
    return len(text) == length and checksum(text) == int(expected)


def head_bytes(frame: FrameSpec) -> int:
    """The bytes of a slot before its image."""
    return align(8 * (HEAD_WORDS + len(frame.scalars)), 64)


def slot_bytes(frame: FrameSpec) -> int:
    """The bytes of a slot."""
    return align(head_bytes(frame) + frame.image_bytes, 64)


def parse_header(path: Path, head: bytes) -> Header:
    """The header that a journal begins with.

    Raises:
        NotARunError: it is no journal, or of a newer format.
        DamagedError: the header is not what was written.
    """
    if head[:8] != _MAGIC or len(head) < 24:
        raise NotARunError(f"{path} is not a journal of embevo: it does not start with {_MAGIC.decode()}")
    if not header_is_whole(head):
        raise DamagedError(f"{path}: the journal's header is damaged. embevo recover can mend it.")
    (length,) = struct.unpack("<Q", head[8:16])
    text = head[24 : 24 + length]
    try:
        header = json.loads(text)
        if header["format"] <= _FORMAT:
            frame = FrameSpec.from_json(header["frame"])
            if header["format"] != (1 if frame.is_plain else _FORMAT):
                raise ValueError(f"journal format {header['format']} does not hold such frames")
            return Header(
                frame,
                int(header["slots"]),
                run=str(header.get("run", "")),
                boot=str(header["boot"]),
                host=str(header.get("host", "")),
                bytes=align(24 + length, PAGE),
            )
    except MALFORMED as error:
        raise DamagedError(f"{path}: the journal's header is not one that embevo writes") from error
    raise NotARunError(
        f"{path} has journal format {header['format']}; this embevo reads up to {_FORMAT}. Update embevo."
    )
