"""How arrays are divided among the processes of one training: which piece of which array is whose.

Each process records a run of its own, of its pieces; the pieces of all are the arrays of the whole run. The
chunk grid of the whole is such that every chunk file belongs to one piece: so the file that a process writes
for its own run is, byte for byte, the file of the whole run under another name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import gcd, prod
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.run.disk.checksum import checksum
from embevo.run.format.frame import FrameSpec

# Cells of an array: a file, at least, is written for each of them a block.
_MOST_CELLS: Final = 1 << 16


@dataclass(frozen=True)
class Piece:
    """A box of an array at one step, recorded by one process.

    Attributes:
        rank: the process.
        start: along each axis, where it begins.
        shape: along each axis, how long it is; never 0.
    """

    rank: int
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def box(self) -> tuple[slice, ...]:
        """What selects it in the whole array at one step."""
        return tuple(slice(start, start + size) for start, size in zip(self.start, self.shape, strict=True))


@dataclass(frozen=True)
class Shards:
    """The pieces of every array of a run.

    Attributes:
        world: number of processes of the training, those that record nothing included.
        pieces: by name of the array, ordered by rank; none overlap, and together they are the whole array.
    """

    world: int
    pieces: Mapping[str, tuple[Piece, ...]]

    def check(self, frame: FrameSpec) -> None:
        """Raise ValueError unless the pieces of each array of a frame are all of it, each part once."""
        if self.pieces.keys() != frame.by_name.keys():
            raise ValueError(
                f"pieces are given of {sorted(self.pieces)}, and {sorted(frame.by_name)} is recorded"
            )
        for name, spec in frame.arrays:
            _check_tiles(name, spec.shape, self.pieces[name], self.world)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """The processes that record something, ascending; the first also records the scalars."""
        return tuple(sorted({piece.rank for pieces in self.pieces.values() for piece in pieces}))

    @property
    def lead(self) -> int:
        """The process whose scalars and steps are those of the run, and that commits it."""
        return self.ranks[0]

    def of(self, rank: int) -> dict[str, Piece]:
        """The pieces of one process, by name of the array."""
        return {name: piece for name, pieces in self.pieces.items() for piece in pieces if piece.rank == rank}

    def cell(self, name: str, shape: Sequence[int]) -> tuple[int, ...]:
        """The largest box of which every piece is made up, but for cells that the array's edge cuts off."""
        return _cell(shape, self.pieces[name])

    def frame(self, rank: int, whole: FrameSpec) -> FrameSpec:
        """What one process records at a step; its axes have names of their own, as their lengths do."""
        mine = self.of(rank)
        arrays = {name: (whole.by_name[name].dtype, piece.shape) for name, piece in mine.items()}
        axes = {name: [f"{name}_{axis}" for axis in range(len(piece.shape))] for name, piece in mine.items()}
        return FrameSpec.of(arrays, whole.scalars, dimensions=axes)

    def images(self, whole: FrameSpec, image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The image of a step as each recording process has it, from that of the whole; in order of rank."""
        return [
            self.frame(rank, whole).image(
                {name: whole.matrix(image, name)[piece.box] for name, piece in self.of(rank).items()}
            )
            for rank in self.ranks
        ]

    def image_checksum(self, whole: FrameSpec, image: NDArray[np.uint8]) -> int:
        """What the manifest of the whole has for the image of a step."""
        return joined([checksum(part.data) for part in self.images(whole, image)])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: ``world``, and of each array ``[rank, start, shape]`` of its pieces."""
        return {
            "world": self.world,
            "pieces": {
                name: [[piece.rank, list(piece.start), list(piece.shape)] for piece in pieces]
                for name, pieces in self.pieces.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`; ValueError and the like where the values are none."""
        return cls(
            _whole(data["world"]),
            {
                str(name): tuple(
                    Piece(_whole(rank), tuple(map(_whole, start)), tuple(map(_whole, shape)))
                    for rank, start, shape in pieces
                )
                for name, pieces in data["pieces"].items()
            },
        )


def joined(checksums: Sequence[int]) -> int:
    """The checksum of a step of the whole: that of the checksums of its images in order of rank."""
    return checksum(b"".join(value.to_bytes(8, "little") for value in checksums))


def _cell(shape: Sequence[int], pieces: Sequence[Piece]) -> tuple[int, ...]:
    """Along each axis, the greatest common divisor of where pieces begin; all of it where that is at 0."""
    return tuple(
        reduce(gcd, (piece.start[axis] for piece in pieces), 0) or size for axis, size in enumerate(shape)
    )


def _check_tiles(name: str, shape: tuple[int, ...], pieces: Sequence[Piece], world: int) -> None:
    if len({piece.rank for piece in pieces}) != len(pieces) or not pieces:
        raise ValueError(f"{name} has {len(pieces)} pieces, and not one for each process that records it")
    for piece in pieces:
        if piece.rank >= world:
            raise ValueError(f"{name} has a piece of rank {piece.rank}, of {world} processes from rank 0 on")
        if (
            len(piece.start) != len(shape)
            or len(piece.shape) != len(shape)
            or any(
                length < 1 or start + length > size
                for start, length, size in zip(piece.start, piece.shape, shape, strict=True)
            )
        ):
            raise ValueError(f"{name} is {shape}, and the piece of rank {piece.rank} lies outside of it")
    cell = _cell(shape, pieces)
    grid = tuple(-(-size // length) for size, length in zip(shape, cell, strict=True))
    if prod(grid) > _MOST_CELLS:
        raise ValueError(
            f"{name} is divided so unevenly that its chunks would be {cell}: {prod(grid):,} files a block. "
            "Pad it, so that every process gets as much"
        )
    covered = np.zeros(grid, np.int64)
    for piece in pieces:
        if any(
            (start + length) % unit and start + length != size
            for start, length, unit, size in zip(piece.start, piece.shape, cell, shape, strict=True)
        ):
            raise ValueError(f"{name}: the piece of rank {piece.rank} ends where no other begins")
        covered[
            tuple(
                slice(start // unit, -(-(start + length) // unit))
                for start, length, unit in zip(piece.start, piece.shape, cell, strict=True)
            )
        ] += 1
    if (covered != 1).any():
        raise ValueError(f"the pieces of {name} overlap, or are not the whole of it")


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a whole number from 0")
    return value
