"""One pass over a trajectory, in which everything that is measured of it is measured.

At no time is more of the trajectory in memory than a block, the rows that lagged differences need, and what
is kept of every step. The time is proportional to the number of steps.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.coherence import mean_pairwise_cosine
from embevo.analysis.measures.components import Components, count_of
from embevo.analysis.measures.diffusion import LagSums
from embevo.analysis.measures.drift import drift
from embevo.analysis.measures.events import KINDS, Event, events_between
from embevo.analysis.measures.geometry import Cloud, norms, radius_without
from embevo.analysis.measures.groups import GROUPS, Groups
from embevo.analysis.measures.identity import representatives, without_negative_zeros
from embevo.analysis.measures.interval import PARTS
from embevo.analysis.measures.lattice import displacement, places, spacing
from embevo.analysis.measures.separation import Separation
from embevo.analysis.measures.singularities import Census
from embevo.analysis.reading import parts
from embevo.run.reading.reader import Run

# What the lagged differences may keep in memory; a larger vocabulary is sampled for them.
_LAG_BYTES: Final = 128 << 20
# Token ids that the list of events may hold; all are counted, those beyond are not listed.
_LISTED_TOKENS: Final = 1 << 20
_SPECTRA: Final = 16

Floats = NDArray[np.float64]


class Measurement:
    """What is kept of every step, filled row by row; ``(step, group, ...)`` unless said otherwise.

    Attributes:
        groups: the tokens of each group.
        sampled: those over which lagged differences are averaged.
        centroid: ``(step, group, dim)``.
        radius_without: ``(step, group, part)`` RMS radius without each of ten parts of the tokens.
        displacement, ulp_l1, ulp_l2, ulp_linf: ``(step, token)``; NaN in the first row.
        last_motion: ``(token,)`` int64 step; -1 for a token that never moved.
        representative: ``(token,)`` int64 of the last row: the smallest id with the same bits.
        lags: lagged differences of the sampled tokens.
        drift: of all tokens from the first to the last row, and its interval.
        events: what happened to black holes, as far as it is listed.
        event_count: ``(step, event)`` int64, all of them.
    """

    def __init__(self, run: Run, name: str) -> None:
        """Make room for all rows of a run."""
        self.steps = run.steps
        self.dtype = run.frame.dtype(name)
        rows, tokens, dim = run.shape
        self.shape = run.shape
        self.groups = Groups.of(tokens, run.tokens)
        self.lags, self.sampled = _lag_sums(rows, tokens, dim, self.groups)
        by_group = (rows, len(GROUPS))
        self.centroid = np.full((*by_group, dim), np.nan)
        self.radius_rms, self.radius_max = np.full(by_group, np.nan), np.full(by_group, np.nan)
        self.radius_without = np.full((*by_group, PARTS), np.nan)
        self.norm_min, self.norm_mean, self.norm_max = (np.full(by_group, np.nan) for _ in range(3))
        self.bulk, self.peculiar = np.full(by_group, np.nan), np.full(by_group, np.nan)
        self.coherence = np.full(rows, np.nan)
        self.distinct_rows, self.distinct_values = np.zeros(by_group, np.int64), np.zeros(by_group, np.int64)
        self.holes, self.population, self.largest = (np.zeros(by_group, np.int64) for _ in range(3))
        self.displacement = np.full((rows, tokens), np.nan)
        self.ulp_l1, self.ulp_l2, self.ulp_linf = (np.full((rows, tokens), np.nan) for _ in range(3))
        self.last_motion = np.full(tokens, -1, np.int64)
        self.representative = np.arange(tokens)
        self.events: list[Event] = []
        self.event_count = np.zeros((rows, len(KINDS)), np.int64)
        self._listed_tokens = 0
        self.spectrum_rows = spectrum_rows(rows)
        self.spectrum = np.full((len(self.spectrum_rows), count_of(tokens, dim)), np.nan)
        self.norm_first, self.norm_last = np.full(tokens, np.nan), np.full(tokens, np.nan)
        self.radius_first, self.radius_last = np.full(tokens, np.nan), np.full(tokens, np.nan)
        self.first: NDArray[Any] = np.zeros((tokens, dim), np.float32)
        self.last: NDArray[Any] = np.zeros((tokens, dim), np.float32)
        self._places = np.zeros((tokens, dim), np.int32)
        self.net_displacement = np.full(tokens, np.nan)
        self.net_ulp_linf, self.net_quanta = np.full(tokens, np.nan), np.full(tokens, np.nan)
        self.separation = Separation(np.nan, np.nan)
        self.drift = (np.nan, np.nan, np.nan)
        distances = Counter(np.diff(self.steps).tolist())
        self.stride = int(distances.most_common(1)[0][0]) if distances else 1

    def take(self, start: int, values: NDArray[Any]) -> None:
        """Take in rows ``start``, ``start + 1``, ..., ``(step, token, dim)``."""
        rows = slice(start, start + len(values))
        points = values.astype(np.float64)
        if start == 0:
            self.first = values[0].copy()
        self._take_identity(rows, values)
        self._take_positions(rows, points)
        self._take_motion(rows, values, points)
        for index in np.flatnonzero((self.spectrum_rows >= rows.start) & (self.spectrum_rows < rows.stop)):
            found = Components.of(points[self.spectrum_rows[index] - start])
            self.spectrum[index] = found.variance
        self.last = values[-1].copy()

    def _take_identity(self, rows: slice, values: NDArray[Any]) -> None:
        same = representatives(values)
        unsigned = without_negative_zeros(values)
        equal = same if unsigned is values else representatives(unsigned)
        for group, ids in enumerate(self.groups.ids):
            census = Census.of(same[:, ids])
            self.distinct_rows[rows, group] = census.distinct
            self.holes[rows, group] = census.holes
            self.population[rows, group] = census.population
            self.largest[rows, group] = census.largest
            self.distinct_values[rows, group] = (
                census.distinct if equal is same else Census.of(equal[:, ids]).distinct
            )
        before = np.concatenate([self.representative[None], same[:-1]])
        for index in np.flatnonzero((before != same).any(axis=1)):
            row = rows.start + int(index)
            if row > 0:
                self._take_events(row, before[index], same[index])
        self.representative = same[-1].copy()

    def _take_events(self, row: int, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        for event in events_between(before, after, int(self.steps[row])):
            self.event_count[row, KINDS.index(event.kind)] += 1
            if self._listed_tokens + len(event.tokens) <= _LISTED_TOKENS:
                self._listed_tokens += len(event.tokens)
                self.events.append(event)

    def _take_positions(self, rows: slice, points: Floats) -> None:
        lengths = norms(points)
        for group, ids in enumerate(self.groups.ids):
            if not len(ids):
                continue
            mine = _of_group(points, ids)
            cloud = Cloud.of(mine)
            self.centroid[rows, group] = cloud.centre
            self.radius_rms[rows, group] = cloud.radius_rms
            self.radius_max[rows, group] = cloud.radius_max
            self.radius_without[rows, group] = radius_without(mine, cloud)
            length = _of_group(lengths, ids)
            self.norm_min[rows, group] = length.min(axis=1)
            self.norm_mean[rows, group] = length.mean(axis=1)
            self.norm_max[rows, group] = length.max(axis=1)
            if group == 0 and rows.start == 0:
                self.norm_first, self.radius_first = lengths[0], np.sqrt(cloud.squares[0])
            if group == 0 and rows.stop == self.shape[0]:
                self.norm_last, self.radius_last = lengths[-1], np.sqrt(cloud.squares[-1])

    def _take_motion(self, rows: slice, values: NDArray[Any], points: Floats) -> None:
        now = places(values, self.dtype)
        # The first row of all has no row before it; it is compared with itself, and then blanked out.
        last = values[0] if rows.start == 0 else self.last
        last_places = now[0] if rows.start == 0 else self._places
        earlier_places = np.concatenate([last_places[None], now[:-1]])
        earlier = np.concatenate([last[None].astype(np.float64), points[:-1]])
        finite = not (np.isnan(points).any() or np.isnan(earlier[0]).any())
        with np.errstate(invalid="ignore", over="ignore"):
            velocity = points - earlier
        ulps = displacement(now, earlier_places)
        moved = ulps.any(axis=2)
        if not finite:
            ulps[np.isnan(points) | np.isnan(earlier)] = np.nan
        self.displacement[rows] = norms(velocity)
        self.ulp_l1[rows] = ulps.sum(axis=2)
        self.ulp_l2[rows] = norms(ulps)
        self.ulp_linf[rows] = ulps.max(axis=2)
        steps = self.steps[rows][:, None]
        self.last_motion = np.maximum(self.last_motion, np.where(moved, steps, -1).max(axis=0))
        for group, ids in enumerate(self.groups.ids):
            if len(ids):
                flow = Cloud.of(_of_group(velocity, ids))
                self.bulk[rows, group] = norms(flow.centre)
                self.peculiar[rows, group] = flow.radius_rms
        self.coherence[rows] = mean_pairwise_cosine(_of_group(velocity, self.groups["dead"]))
        if rows.start == 0:
            for kept in (
                self.displacement,
                self.ulp_l1,
                self.ulp_l2,
                self.ulp_linf,
                self.bulk,
                self.peculiar,
            ):
                kept[0] = np.nan
            self.coherence[0] = np.nan
        self._places = now[-1].copy()
        ids = self.sampled.ids[0]
        self._take_lagged(rows.start, _of_group(points, ids), _of_group(velocity, ids))

    def _take_lagged(self, start: int, points: Floats, velocity: Floats) -> None:
        """Hand rows on, in stretches without gaps."""
        follows = np.diff(self.steps[max(0, start - 1) : start + len(points)]) == self.stride
        if start == 0:
            follows = np.concatenate([[True], follows])
        begin = 0
        for end in (*np.flatnonzero(~follows).tolist(), len(points)):
            if end > begin:
                self.lags.add(points[begin:end], velocity[begin:end], start + begin)
            if end < len(points):
                self.lags.restart()
            begin = end

    def finish(self) -> None:
        """What can be said when all rows have been seen."""
        first, last = self.first.astype(np.float64), self.last.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            self.net_displacement = norms(last - first)
            self.drift = drift(last - first)
        ulps = displacement(places(self.last, self.dtype), places(self.first, self.dtype))
        ulps[np.isnan(first) | np.isnan(last)] = np.nan
        self.net_ulp_linf = ulps.max(axis=1)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            self.net_quanta = self.net_displacement / norms(spacing(self.first, self.dtype))
        live, dead = (last[self.groups[name]] for name in ("live", "dead"))
        self.separation = Separation.of(live, dead)


def measure(run: Run, name: str, on_rows: Callable[[int], None] | None = None) -> Measurement:
    """Measure a matrix of a run; ``on_rows`` is called with the number of rows that have been seen."""
    found = Measurement(run, name)
    for start, values in parts(run, name):
        found.take(start, values)
        if on_rows is not None:
            on_rows(start + len(values))
    found.finish()
    return found


def spectrum_rows(rows: int) -> NDArray[np.int64]:
    """Rows whose spectrum is taken: the first, the last, and some between, evenly spaced in the logarithm."""
    between = np.geomspace(1, max(rows - 1, 1), _SPECTRA - 1).round().astype(np.int64)
    return np.unique(np.concatenate([[0], between[between < rows]]))


def _lag_sums(rows: int, tokens: int, dim: int, groups: Groups) -> tuple[LagSums, Groups]:
    levels = max(1, int(np.ceil(np.log2(max(rows, 2)))) - 4)
    # Sixty-four rows of positions and velocities a level, in float64.
    bytes_a_token = levels * 64 * dim * 16
    sampled = groups.sampled(max(1, min(tokens, _LAG_BYTES // bytes_a_token)))
    # Where they are among the sampled ids, which are what the sums will see.
    places_of = [np.searchsorted(sampled.ids[0], ids) for ids in sampled.ids]
    return LagSums(rows, places_of), sampled


def _of_group(values: Floats, ids: NDArray[np.int64]) -> Floats:
    """The columns of a group; no copy if that is all of them."""
    return values if len(ids) == values.shape[1] else values[:, ids]


def sums_of_centroids(found: Measurement) -> LagSums:
    """Lagged differences of the centroids, each group's as a token of its own."""
    rows = len(found.steps)
    sums = LagSums(rows, [np.array([group]) for group in range(len(GROUPS))])
    velocity = np.zeros_like(found.centroid)
    velocity[1:] = np.diff(found.centroid, axis=0)
    starts = [0, *(np.flatnonzero(np.diff(found.steps) != found.stride) + 1).tolist(), rows]
    for start, stop in pairwise(starts):
        sums.restart()
        for first in range(start, stop, 1024):
            last = min(first + 1024, stop)
            sums.add(found.centroid[first:last], velocity[first:last], first)
    return sums


def listed(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events as plain JSON values."""
    return [event.to_json() for event in events]
