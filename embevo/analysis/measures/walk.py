"""Are the ways of the centroid and of tokens random walks, and does the cloud grow as if they were?"""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import Band
from embevo.analysis.measures.block import Block
from embevo.analysis.measures.growth import half_growth_step
from embevo.analysis.measures.growth_null import Growing
from embevo.analysis.measures.measure import Measure, Number, Whole
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.pieces import SECOND, Piece, endings_of, pieces_of
from embevo.analysis.measures.quanta import against_noise
from embevo.analysis.measures.random_directions import Directions
from embevo.analysis.measures.walk_null import each_against_random_walks

# AdamW's first moment is a moving average that keeps so much of itself from step to step (beta1).
MOMENTUM: Final = 0.9
# With fewer recorded intervals there is no dynamics to speak of.
_FEWEST: Final = 100
# Rows and bytes that ways are kept of; of more rows every k-th, and of so many tokens of a group at most.
_MOST_ROWS: Final = 8192
_BYTES: Final = 32 << 20
_MOST_TOKENS: Final = 16


class Walk(Measure):
    """The ways of the centroid and of some tokens, beside random walks of steps of the same lengths."""

    section = "Motion"
    variables = ()
    numbers = (
        Number("walks", "ways beside random walks of the same steps", "1"),
        Number("growth", "growth beside that of random directions", "1"),
        Number("dead_quanta", "net displacement of dead tokens in elements that can move", "ULP"),
        Number("pieces", "pieces of the run that its dynamics are asked of", "steps"),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._every = -(-outline.rows // _MOST_ROWS)
        most = _BYTES // (outline.dim * 4 * min(outline.rows, _MOST_ROWS))
        self._ids = {
            name: _spread(outline.groups[name], min(_MOST_TOKENS, max(1, most // 2)))
            for name in (("live", "dead") if outline.groups.known else ("all",))
        }
        self._asked = outline.rows > _FEWEST

    def take(self, block: Block) -> None:
        """Keep where the chosen tokens are."""
        if self._asked:
            chosen = slice(-block.start % self._every, None, self._every)
            self.keep(**{name: block.values[chosen][:, ids] for name, ids in self._ids.items()})

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """Compare; nothing is kept of every step."""
        ways = super().finish(whole)
        self._pieces = _pieces(self.outline.steps)
        self._walks: dict[str, dict[str, dict[str, Band]]] = {}
        self._growth: dict[str, Any] = {}
        self._quanta: dict[str, Band] = {}
        if self._pieces:
            self._compare(ways, whole)
        return {}

    def _compare(self, ways: Mapping[str, NDArray[Any]], whole: Whole) -> None:
        arrays, submit = whole.arrays, whole.workers.submit
        memory = MOMENTUM ** (self.outline.stride * self._every)
        pieces = _pieces(self.outline.steps[:: self._every])
        paths = {"centroid": arrays["centroid"][:: self._every, :1], **ways}
        paths = {name: path for name, path in paths.items() if path.shape[1]}
        # Growth is asked of every row, so that the memory is that from row to row.
        each_row = MOMENTUM**self.outline.stride
        directions = {
            name: dataclasses.replace(_directions(way, memory), memory=each_row)
            for name, way in ways.items()
            if way.shape[1]
        }
        growth: dict[str, Future[Any]] = {}
        if directions:
            # Those of the live tokens, where there are any, are those of all.
            typical = next(iter(directions.values()))
            growth = {
                name: submit(partial(self._growths, arrays, name, typical))
                for name in ("all", "live")
                if len(self.outline.groups[name])
            }
            if {"live", "dead"} <= directions.keys():
                growth["dead"] = submit(partial(self._tightness, arrays, directions["dead"]))
        quanta = None
        if "dead" in ways and ways["dead"].shape[1]:
            rate = self.outline.scalars.get("learning_rate", np.full(self.outline.rows, np.nan))
            largest = float(rate[np.isfinite(rate)].max(initial=0.0))
            asked = [piece for piece in pieces if piece.name != SECOND]
            quanta = submit(partial(against_noise, ways["dead"], largest, self.outline.dtype, asked))
        self._walks = each_against_random_walks(paths, memory, pieces, whole.workers, on_steps=whole.on_walks)
        self._growth = {name: of.result() for name, of in growth.items()}
        self._quanta = {} if quanta is None else quanta.result()

    def _tightness(self, arrays: Mapping[str, NDArray[Any]], directions: Directions) -> dict[str, Any]:
        """Radius of the dead over that of the live, beside dead tokens that go their ways independently."""
        live, dead = (self.outline.groups.names.index(name) for name in ("live", "dead"))
        of = {name: arrays[f"displacement_{name}"][:, dead] for name in ("bulk", "peculiar_rms")}
        radius = arrays["radius_rms"]
        growing = Growing(
            radius[:, dead], np.hypot(*of.values()), directions, len(self.outline.groups["dead"])
        )
        asked = [piece for piece in self._pieces if piece.first == 0]
        return {"tightness": growing.independents(radius[:, live], asked)}

    def _growths(
        self, arrays: Mapping[str, NDArray[Any]], name: str, directions: Directions
    ) -> dict[str, Any]:
        """How a group grew, by name of the piece."""
        column = self.outline.groups.names.index(name)
        radius = arrays["radius_rms"][:, column]
        growing = Growing(
            radius, arrays["displacement_peculiar_rms"][:, column], directions, len(self.outline.groups[name])
        )
        steps = self.outline.steps
        of = {piece.name: slice(piece.first, piece.last + 1) for piece in self._pieces}
        return {
            "expansion": {piece.name: _ratio(radius, piece) for piece in self._pieces},
            "half_step": {piece: half_growth_step(steps[rows], radius[rows]) for piece, rows in of.items()},
            "flight": growing.flights(self._pieces),
            "settling": growing.settlings(endings_of(steps)),
        }

    def tell(self) -> Mapping[str, Any]:
        """The comparisons, by name of the piece."""
        return {
            "pieces": {
                piece.name: {
                    "first_step": int(self.outline.steps[piece.first]),
                    "last_step": int(self.outline.steps[piece.last]),
                    "intervals": piece.intervals,
                }
                for piece in self._pieces
            },
            "walks": _plain(self._walks),
            "growth": _plain(self._growth),
            "dead_quanta": _plain(self._quanta),
        }


def _pieces(steps: NDArray[np.int64]) -> tuple[Piece, ...]:
    """The pieces that are long enough."""
    return tuple(piece for piece in pieces_of(steps) if piece.intervals >= _FEWEST)


def _spread(ids: NDArray[np.int64], at_most: int) -> NDArray[np.int64]:
    """Some of the ids, evenly spaced."""
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(len(ids), at_most)).astype(np.int64))]


def _directions(paths: NDArray[Any], memory: float) -> Directions:
    """Directions of a typical token: the medians over tokens."""
    moved = np.diff(paths.astype(np.float64), axis=0)
    each = [Directions.of(moved[:, token], memory) for token in range(moved.shape[1])]
    dimensions = int(np.median([one.dimensions for one in each]))
    return Directions(dimensions, memory, float(np.median([one.share for one in each])))


def _ratio(radius: NDArray[np.float64], piece: Piece) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(radius[piece.last], radius[piece.first]))


def _plain(values: Any) -> Any:
    """Bands as dicts."""
    if isinstance(values, dict):
        return {name: _plain(value) for name, value in values.items()}
    return dataclasses.asdict(values) if isinstance(values, Band) else values
