"""Where the tokens of a run are in each view, in pieces of consecutive rows."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.identity import representatives
from embevo.errors import ArgumentError
from embevo.viewer.fitting import fit, is_much, some_blocks
from embevo.viewer.kept_pieces import KeptPieces
from embevo.viewer.opened import OpenedRun
from embevo.viewer.piece import pack_places, pack_representatives
from embevo.viewer.projecting import Projection
from embevo.viewer.view_name import ViewName

# About so many bytes a piece has: little enough to come at once, enough for seconds of playing.
_PIECE_BYTES: Final = 1 << 20
# Where little is let through at a time.
_SMALL_BYTES: Final = 1 << 18
# Up to so many bytes of exact places in all the page is sent float32.
_EXACT_BYTES: Final = 64 << 20
# Projected blocks that are kept.
_KEPT_BYTES: Final = 512 << 20


class Clouds:
    """The views of one matrix.

    Attributes:
        piece_rows: consecutive rows of a piece; piece k has those from k times that on.
        rounded: whether places are rounded, to 1 / 65,534 of the range of the piece.
    """

    def __init__(
        self,
        opened: OpenedRun,
        others: Sequence[OpenedRun] = (),
        *,
        rounded: bool = False,
        small: bool = False,
    ) -> None:
        """Nothing is read before it is asked for.

        Args:
            opened: the run.
            others: those before it on the page, whose components it may be shown along.
            rounded: round places, also where they do not take much.
            small: make pieces small, a quarter of what they are otherwise.
        """
        self._opened = opened
        self._others = others
        rows, tokens, _ = opened.shape
        self.rounded = rounded or rows * tokens * 12 > _EXACT_BYTES
        piece_bytes = _SMALL_BYTES if small else _PIECE_BYTES
        self.piece_rows = max(1, piece_bytes // (tokens * (6 if self.rounded else 12)))
        if self.piece_rows < opened.block_rows:
            # A piece of few rows is of one block alone.
            self.piece_rows = max(n for n in range(1, self.piece_rows + 1) if opened.block_rows % n == 0)
        self._projections: dict[str, tuple[Projection, dict[str, Any]]] = {}
        self._kept: OrderedDict[tuple[str, int, int], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.RLock()
        self._rewinds = self._rewinds_now()
        self._on_disk: KeptPieces | None = None

    def describe(self, view: ViewName) -> dict[str, Any]:
        """What the page must know of a view: labels of its axes, their ranges, what it was fitted on.

        Raises:
            ArgumentError: there is no such component, or step.
            DamagedError: stored bytes are not what was written.
        """
        with self._lock:
            return self._projection(view)[1]

    def piece(self, view: ViewName, number: int) -> bytes:
        """The places of all tokens in one piece, see :mod:`embevo.viewer.piece`.

        Raises:
            ArgumentError: there is no such piece, component or step.
            DamagedError: stored bytes are not what was written.
        """
        start, stop = self._rows_of(number)

        def make() -> bytes:
            places = self._places(view, self._projection(view)[0], start, stop)
            return pack_places(places, rounded=self.rounded)

        with self._lock:
            return self._made_once(f"{view}-{number}", make, alone=view.of is None)

    def holes(self, number: int) -> bytes:
        """Which tokens have vectors of the same bits, in one piece; likewise."""
        start, stop = self._rows_of(number)

        def make() -> bytes:
            return pack_representatives(
                np.concatenate([representatives(values) for _, values in self._opened.blocks(start, stop)])
            )

        with self._lock:
            return self._made_once(f"holes-{number}", make)

    def all_places(self, view: ViewName) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All rows of a view in order, exactly, as ``(first row, (row, token, 3) places)`` of a block each.

        Raises:
            ArgumentError: there is no such component or step.
            DamagedError: stored bytes are not what was written.
        """
        with self._lock:
            projection = self._projection(view)[0]
        for start, values in self._opened.blocks(0, self._opened.shape[0]):
            yield start, projection.of(values)

    def _made_once(self, name: str, make: Callable[[], bytes], *, alone: bool = True) -> bytes:
        """Bytes that are kept on the disk, where making them took long and they can be kept.

        What also hangs on another run, and is not of this one ``alone``, is not kept.
        """
        self._notice_rewinds()
        kept = self._on_disk if alone else None
        data = None if kept is None else kept.get(name)
        if data is None:
            data = make()
            if kept is not None:
                kept.put(name, data)
        return data

    def _rows_of(self, number: int) -> tuple[int, int]:
        rows, _, _ = self._opened.shape
        start = number * self.piece_rows
        if not 0 <= start < rows:
            raise ArgumentError(f"there is no piece {number} of {rows:,} rows")
        return start, min(start + self.piece_rows, rows)

    def _places(self, view: ViewName, projection: Projection, start: int, stop: int) -> NDArray[np.float32]:
        found = []
        # What is read together is projected together.
        for first, last in self._opened.stretches(start, stop):
            key = (str(view), first, last)
            places = self._kept.get(key)
            if places is None:
                places = np.concatenate(
                    [projection.of(values) for _, values in self._opened.blocks(first, last)]
                )
                self._kept[key] = places
                while sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            found.append(places[max(start - first, 0) : stop - first])
        return np.concatenate(found)

    def _rewinds_now(self) -> list[int]:
        return [of.rewinds for of in (self._opened, *self._others)]

    def _projection(self, view: ViewName) -> tuple[Projection, dict[str, Any]]:
        self._notice_rewinds()
        name = str(view)
        if name not in self._projections:
            kept = self._on_disk if view.of is None else None
            held = None if kept is None else kept.get(name)
            if held is not None:
                told = json.loads(held)
                self._projections[name] = Projection.parse(told["projection"]), told["said"]
                return self._projections[name]
            projection, said = fit(view, self._opened, self._others)
            said |= {
                "name": name,
                "kind": view.kind,
                "axes": list(view.axes),
                **self._range(view, projection),
            }
            self._projections[name] = projection, said
            if kept is not None and projection.is_finite:
                told = {"projection": projection.pack(), "said": said}
                kept.put(name, json.dumps(told, allow_nan=False).encode())
        return self._projections[name]

    def _notice_rewinds(self) -> None:
        """Forget what is held of rows that may be others now; keep what is large where it will stay so."""
        rewinds = self._rewinds_now()
        if rewinds != self._rewinds:
            self._projections.clear()
            self._kept.clear()
            self._on_disk = None
            self._rewinds = rewinds
        whole = self._opened.chosen is None and is_much(self._opened.shape)
        if self._on_disk is None and whole and self._opened.state == "complete":
            how = {"piece_rows": self.piece_rows, "rounded": self.rounded}
            self._on_disk = KeptPieces.of(self._opened, how)

    def _range(self, view: ViewName, projection: Projection) -> dict[str, Any]:
        """Within which places lie, and whether that was found from all rows."""
        rows, tokens, _ = self._opened.shape
        if view.is_sky:
            width, height = 2 * np.sqrt(2), np.sqrt(2)
            return {
                "low": [-width, -height, 0.0],
                "high": [width, height, 0.0],
                "range_rows": rows,
                "range_tokens": tokens,
                "rows": rows,
            }
        blocks = some_blocks(self._opened)
        # The last row first: it is the one that was fitted on most often, and is held.
        places = [self._places(view, projection, rows - 1, rows).reshape(-1, 3)]
        sampled = tokens
        for start, stop in reversed(blocks):
            if self._opened.is_vast(stop - start):
                found = projection.of(self._opened.sampled(slice(start, stop)))
                sampled = found.shape[1]
            else:
                found = self._places(view, projection, start, stop)
            places.append(found.reshape(-1, 3))
        points = np.concatenate(places)
        points = points[np.isfinite(points).all(axis=1)]
        low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))
        return {
            "low": low.tolist(),
            "high": high.tolist(),
            "range_rows": sum(stop - start for start, stop in blocks),
            "range_tokens": sampled,
            "rows": rows,
        }
