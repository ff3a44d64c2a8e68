"""What an entry of the manifest says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from embevo.run.disk.checksum import Digest
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.steps import from_ranges, to_ranges

Files = Mapping[str, Digest]


@dataclass(frozen=True)
class Created:
    """The first entry: a run of no rows.

    Attributes:
        files: of the arrays that do not grow, by key.
        metadata: every ``zarr.json`` at 0 rows, by key.
        group: the group's whole ``zarr.json``.
    """

    files: Files
    metadata: Files
    group: Mapping[str, Any]

    @property
    def stop(self) -> int:
        """The rows of the run with this entry: none."""
        return 0

    @property
    def group_digest(self) -> Digest:
        """Length and checksum of the group's metadata with this entry."""
        return self.metadata[GROUP_METADATA]


@dataclass(frozen=True)
class Block:
    """A block of rows that was written, or was about to be.

    Attributes:
        number: of the block.
        first: its first row.
        stop: the row after its last; the rows of the run with this entry.
        ranges: its steps, as ``[first, last, stride]``.
        files: its chunk files, by key.
        metadata: every ``zarr.json`` with these rows, by key.
        images: the checksums of its images, 16 hexadecimal digits a row.
        compacted: whether its files were made as small as they get.
    """

    number: int
    first: int
    stop: int
    ranges: list[list[int]]
    files: Files
    metadata: Files
    images: str
    compacted: bool = False

    @classmethod
    def of(
        cls,
        number: int,
        first: int,
        steps: list[int],
        *,
        files: Files,
        metadata: Files,
        images: Iterable[int],
    ) -> "Block":
        """The entry of a block with these steps and checksums of images, from its first row on."""
        return cls(
            number,
            first,
            first + len(steps),
            to_ranges(steps),
            files,
            metadata,
            "".join(f"{image:016x}" for image in images),
        )

    @property
    def rows(self) -> range:
        """The rows of the block."""
        return range(self.first, self.stop)

    @property
    def steps(self) -> list[int]:
        """The step of each row."""
        return from_ranges(self.ranges)

    @property
    def group_digest(self) -> Digest:
        """Length and checksum of the group's metadata with this entry."""
        return self.metadata[GROUP_METADATA]

    def with_files(self, entry: "Compacted") -> "Block":
        """The block as a compaction has it."""
        return replace(self, files=entry.files, compacted=True)

    def image_checksum(self, row: int) -> int:
        """The checksum of the image of a row."""
        start = 16 * (row - self.first)
        return int(self.images[start : start + 16], 16)


@dataclass(frozen=True)
class Rewound:
    """Entries of blocks before this one that end after so many rows no longer count.

    Attributes:
        rows: that many.
    """

    rows: int


@dataclass(frozen=True)
class Annotated:
    """What is said of the tokens was written anew, or taken back.

    Attributes:
        file: what ``tokens.json`` is from here on; None if there is none.
    """

    file: Digest | None


@dataclass(frozen=True)
class Compacted:
    """The files of a block were written anew with the same values in fewer bytes, or were about to be.

    Attributes:
        number: of the block.
        stop: the row after its last.
        files: its chunk files from here on, by key; until they are written, they are those from before.
    """

    number: int
    stop: int
    files: Files


Entry = Created | Block | Rewound | Annotated | Compacted


def to_json(entry: Entry) -> dict[str, Any]:
    """The JSON of an entry, its keys in the order in which they are written."""
    match entry:
        case Created():
            return {
                "kind": "created",
                "files": entry.files,
                "metadata": entry.metadata,
                "group": entry.group,
            }
        case Block():
            return {
                "kind": "block",
                "block": entry.number,
                "rows": [entry.first, entry.stop],
                "steps": entry.ranges,
                "files": entry.files,
                "metadata": entry.metadata,
                "images": entry.images,
                **({"compacted": True} if entry.compacted else {}),
            }
        case Rewound():
            return {"kind": "rewound", "rows": entry.rows}
        case Annotated():
            return {"kind": "annotated", "file": entry.file}
        case Compacted():
            return {
                "kind": "compacted",
                "block": entry.number,
                "stop": entry.stop,
                "files": entry.files,
            }
