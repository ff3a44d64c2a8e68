"""Journals that are broken, foreign or forged: refused by name, whatever is in them."""

import itertools
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.disk.checksum import checksum
from embevo.run.journal.ring import Journal
from support import written

SLOTS = 4


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    frame = written.frame_of((3, 2), embeddings="float32", other="bfloat16")
    ring = Journal.create(tmp_path / "journal", frame, SLOTS)
    yield ring
    ring.close()


@pytest.fixture
def content(journal: Journal) -> bytes:
    for row in range(3):
        written.put(journal, row, row)
    return journal.path.read_bytes()


def test_truncated_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cut"
    for length in (
        *range(0, 600, 7),
        4095,
        4096,
        4097,
        len(content) - 64,
        len(content) - 1,
        len(content) + 1,
    ):
        path.write_bytes((content + b"\0")[:length])
        with pytest.raises(EmbevoError):
            Journal(path)


def test_every_flipped_bit_of_the_header_is_found_or_harmless(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flipped"
    length = struct.unpack("<Q", content[8:16])[0]
    for byte, bit in itertools.product(range(24 + length), range(8)):
        data = bytearray(content)
        data[byte] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises((NotARunError, DamagedError)):
            Journal(path)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 5000, b"\x89HDF\r\n\x1a\n" * 100, b"EMBEVO-J", b"EMBEVO-J" * 600]
)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "foreign").write_bytes(data)
    with pytest.raises((NotARunError, DamagedError)):
        Journal(tmp_path / "foreign")


def forge(path: Path, text: bytes, size: int = 8192) -> Path:
    """A journal with a header of our own making and a valid checksum."""
    data = b"EMBEVO-J" + struct.pack("<QQ", len(text), checksum(text)) + text
    path.write_bytes(data.ljust(size, b"\0"))
    return path


def header(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "format": 1,
        "frame": {"matrices": {"w": "float32"}, "shape": [2, 2], "scalars": []},
        "slots": 4,
        "boot": "b",
    }
    return json.dumps(fields | changes).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        header(format="1"),
        header(format=None),
        header(slots=0),
        header(slots=-1),
        header(slots="many"),
        header(slots=None),
        header(slots=10**30),
        header(slots=1e300),
        header(frame=None),
        header(frame={}),
        header(frame={"matrices": {"w": "float32"}, "shape": [2**40, 2**40], "scalars": []}),
        header(frame={"matrices": {"w": "float32"}, "shape": [-2, -2], "scalars": []}),
        header(frame={"matrices": {"w": "float32"}, "shape": 3, "scalars": []}),
        header(frame={"matrices": {"w": "object"}, "shape": [2, 2], "scalars": []}),
        header(frame={"matrices": {"../w": "float32"}, "shape": [2, 2], "scalars": []}),
        header(frame={"matrices": ["w"], "shape": [2, 2], "scalars": []}),
        header(frame={"matrices": {"w": ["x"]}, "shape": [2, 2], "scalars": []}),
    ],
    ids=lambda text: text[:80].decode(errors="replace"),
)
def test_headers_of_someone_elses_making_are_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(EmbevoError):
        Journal(forge(tmp_path / "forged", text))


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="journal format 3; this embevo reads up to 2"):
        Journal(forge(tmp_path / "newer", header(format=3)))
