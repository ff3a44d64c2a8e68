"""The rows of a run at one moment, wherever each of them is: in a block, in the ring, or sealed since."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.format.layout import Layout
from embevo.run.journal.ring import Frame
from embevo.run.reading.following import TRIES
from embevo.run.reading.sealed import SealedRows, as_dtype
from embevo.run.reading.step_array import Position, select


class Holder(Protocol):
    """What has rows that are not sealed."""

    def read(self, row: int) -> Frame | None:
        """A row; None where it is not there, or not any more."""


class Rows:
    """The sealed rows of a run, and those behind them as long as they are there.

    Attributes:
        sealed: those in the group.
        steps: ``(step,)`` int64 global step of each row.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        sealed: SealedRows,
        steps: NDArray[np.int64],
        *,
        holder: Holder | None,
        later: Callable[[], Iterator["Rows"]],
    ) -> None:
        """Read rows with these steps.

        Args:
            path: of the run.
            layout: of its group.
            sealed: its first rows.
            steps: ``(step,)`` int64, of all rows.
            holder: what has the others.
            later: gives the rows that the run has by now, anew each time: one may have been sealed since.
        """
        self.sealed = sealed
        self.steps = steps
        self._path = path
        self._layout = layout
        self._frame = layout.frame
        self._holder = holder
        self._later = later

    def values(
        self,
        name: str,
        rows: NDArray[np.int64] | slice,
        axes: tuple[Position, ...],
        dtype: np.dtype[Any],
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Rows of an array by position, from wherever they are.

        Args:
            name: of the array.
            rows: within it.
            axes: a selection of each further axis; an integer drops the axis.
            dtype: the one in which it is read by default, or the recorded one.
            out: where they go, of the shape of what is asked for; None for a new array.
        """
        values = self.sealed.room(name, rows, axes, dtype) if out is None else out
        count = self.sealed.count
        if isinstance(rows, slice):
            sealed: NDArray[np.int64] | slice = slice(rows.start, min(rows.stop, count), rows.step)
            positions = np.arange(rows.start, rows.stop, rows.step)
        else:
            sealed = rows[rows < count]
            positions = rows
        in_tail = positions >= count
        if not in_tail.any():
            self.sealed.read_into(name, sealed, axes, values)
            return values
        for place in np.flatnonzero(in_tail):
            tail = self._tail_values(name, positions[place])
            values[place] = as_dtype(select(tail[np.newaxis], axes)[0], dtype)
        first = len(positions) - int(in_tail.sum())
        if first == 0:
            return values
        if not in_tail[:first].any():
            # All but the last of them, as in every range of rows.
            self.sealed.read_into(name, sealed, axes, values[:first])
        else:
            values[~in_tail] = self.sealed.read(name, sealed, axes, dtype)
        return values

    def images(self, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The safetensors images of rows, as ``(step, image)``, bit for bit what was captured."""
        # Whole blocks at a time: decoding a chunk for one of its rows costs as much as for all.
        size, count = self._layout.block_steps, self.sealed.count
        for _, group in groupby(rows, lambda row: (row < count, row // size)):
            block = list(group)
            tail = (self.tail_frame(row).image for row in block)
            images = self.sealed.images(block) if block[0] < count else tail
            yield from zip(self.steps[block].tolist(), images, strict=True)

    def _tail_values(self, name: str, row: int) -> NDArray[Any]:
        """One row in the recorded dtype."""
        frame = self.tail_frame(row)
        if name in self._frame.scalars:
            return np.asarray(frame.scalars[self._frame.scalars.index(name)])
        return self._frame.matrix(frame.image, name)

    def tail_frame(self, row: int) -> Frame:
        """A row that was not sealed when the run was looked at.

        Raises:
            DamagedError: it is nowhere any more.
        """
        frame = self.captured(row)
        if frame is not None:
            return frame
        # Sealed since then: it is in the group now.
        for now in islice(self._later(), TRIES):
            if row < now.sealed.count:
                break
            frame = now.captured(row)
            if frame is not None:
                return frame
            time.sleep(0.001)
        else:
            raise DamagedError(f"{self._path}: row {row} is neither in the journal nor in a block any more")
        scalars = [now.sealed.read(name, np.array([row]), ())[0] for name in self._frame.scalars]
        (image,) = now.sealed.images([row])
        return Frame(row, int(now.steps[row]), np.array(scalars), image, checksum(image.data))

    def captured(self, row: int) -> Frame | None:
        """A row that is not sealed, or not any more."""
        return None if self._holder is None else self._holder.read(row)
