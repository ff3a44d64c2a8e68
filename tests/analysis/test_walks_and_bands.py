"""The nulls: what they simulate is what they say, and how often they are wrongly rejected."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from embevo.analysis.measures import drift
from embevo.analysis.measures.bands import Band, bands
from embevo.analysis.measures.drift import bodies, drifts, separation, together
from embevo.analysis.measures.growth_null import Growing
from embevo.analysis.measures.normals import drawer
from embevo.analysis.measures.pieces import WHOLE, Piece, endings_of, pieces_of
from embevo.analysis.measures.quanta import against_noise
from embevo.analysis.measures.random_directions import Directions, mean_square, walks
from embevo.analysis.measures.walk_null import against_random_walks

ROWS = 241
# Steps as those of runs: most of the way in the first tenth, and hardly any in the end.
DYING = np.exp(-np.arange(ROWS - 1) / 20) + 0.02
MEMORY = 0.9


def a_walk(lengths: NDArray[np.float64], directions: Directions, seed: int) -> NDArray[np.float64]:
    """``(row, 1, dim)`` places of one random walk."""
    (moved,) = walks(lengths, directions, 1, drawer(seed))
    return np.concatenate([np.zeros((1, moved.shape[2])), np.cumsum(moved[0], axis=0, dtype=np.float64)])[
        :, None
    ]


def outside(found: dict[str, dict[str, Band]]) -> bool:
    """Whether any statistic of any piece lies out of its band."""
    each = [band for of in found.values() for band in of.values() if not math.isnan(band.value)]
    assert len(each) >= 12
    return any(not band.low <= band.value <= band.high for band in each)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_simulated_steps_have_the_lengths_the_memory_and_no_other(share: float) -> None:
    lengths = np.tile([1.0, 2.0, 0.0], 100)
    directions = Directions(8, MEMORY, share)
    moved = np.concatenate(list(walks(lengths, directions, 400, drawer(0))))
    assert moved.shape == (400, 300, 8)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=2), np.tile(lengths, (400, 1)), rtol=1e-5)
    moves = lengths > 0
    units = moved[:, moves] / lengths[moves, None].astype(np.float32)
    rows = np.flatnonzero(moves)
    for lag in (1, 3, 30):
        apart = rows[lag:] - rows[:-lag]
        for distance in np.unique(apart).tolist():
            cosine = (units[:, lag:] * units[:, :-lag]).sum(axis=2)[:, apart == distance].mean()
            # The mean cosine of normal vectors in eight dimensions is a little less than their correlation.
            assert cosine == pytest.approx(share * MEMORY**distance, abs=0.05)
    net = (moved.sum(axis=1) ** 2).sum(axis=1).mean()
    assert net == pytest.approx(mean_square(lengths, directions), rel=0.15)


@pytest.mark.parametrize("dimensions", [2, 9, 24])
def test_directions_are_read_off_what_was_made_of_them(dimensions: int) -> None:
    made = Directions(dimensions, MEMORY, 0.7)
    moved = a_walk(np.linspace(1, 0.01, 4000), made, 0)[:, 0]
    found = Directions.of(np.diff(moved, axis=0), MEMORY)
    assert found.dimensions == pytest.approx(dimensions, rel=0.15, abs=1)
    assert found.share == pytest.approx(0.7, abs=0.12)


def test_directions_of_motion_along_one_axis_are_one_dimensional() -> None:
    along = np.outer(np.ones(50), [1.0, 0, 0])
    assert Directions.of(along, MEMORY) == Directions(1, MEMORY, 1.0, 1 / (0.9 * math.sqrt(49)))
    assert Directions.of(along * 0, MEMORY) == Directions(1, MEMORY, 0.0)


@pytest.mark.parametrize(("lengths", "share"), [(np.ones(ROWS - 1), 0.0), (DYING, 0.8)])
def test_random_walks_are_seldom_taken_for_something_else(lengths: NDArray[np.float64], share: float) -> None:
    """However their steps change in length: all twelve numbers of all pieces lie in their bands."""
    how = Directions(6, MEMORY, share)
    pieces = pieces_of(np.arange(ROWS))
    wrong = sum(
        outside(against_random_walks(a_walk(lengths, how, seed), MEMORY, pieces, seed)) for seed in range(80)
    )
    # 4 are expected; more than 10 come in less than one of 500 cases.
    assert wrong <= 10


@pytest.mark.parametrize("lengths", [np.ones(ROWS - 1), DYING], ids=["even", "dying"])
@pytest.mark.parametrize("kind", ["directed", "confined"])
def test_what_is_no_random_walk_is_found_out(lengths: NDArray[np.float64], kind: str) -> None:
    how = Directions(6, MEMORY, 0.8)
    pieces = pieces_of(np.arange(ROWS))
    for seed in range(10):
        if kind == "directed":
            place = a_walk(lengths, how, seed)
            place[1:, :, 0] += np.cumsum(lengths)[:, None]
        else:
            # Places about a point, which know nothing of each other.
            place = np.random.default_rng(seed).normal(size=(ROWS, 1, 6))
            place[1:] *= lengths[:, None, None]
        found = against_random_walks(place, MEMORY, pieces)
        assert outside(found), seed
        windows = found[WHOLE]["windows"]
        assert (windows.value > windows.null) == (kind == "directed")


def test_the_memory_is_no_more_than_the_optimizers() -> None:
    """A walk that keeps its direction for hundreds of steps is not its own null."""
    way = a_walk(np.ones(2000), Directions(6, 0.995, 1.0), 0)
    cosine = against_random_walks(way, MEMORY, pieces_of(np.arange(2001)))[WHOLE]["cosine"]
    assert cosine.value > 0.5
    assert cosine.high < 0.1


def test_bands_hold_together_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    skewed = rng.exponential(size=(400, 200, 4)) * [1, 2, 3, 4]
    held = [all(band.low <= band.value <= band.high for band in bands(of[0], of[1:])) for of in skewed]
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_a_band_of_what_was_not_measured_or_not_simulated_is_none() -> None:
    null = np.random.default_rng(0).normal(size=(50, 3))
    null[:, 2] = np.nan
    missing, known, unknown = bands(np.array([np.nan, 0.0, 0.0]), null)
    assert math.isnan(missing.low)
    assert math.isnan(unknown.value)
    assert known.low < 0 < known.high
    # What cannot be otherwise has no width.
    assert bands(np.array([2.0]), np.ones((9, 1))) == [Band(2.0, 1.0, 1.0, 1.0)]


def test_a_cloud_of_random_walkers_grows_as_its_null() -> None:
    tokens, dimensions = 40, 8
    how = Directions(dimensions, MEMORY, 0.8)
    start = np.random.default_rng(1).normal(size=(tokens, dimensions))
    inside = 0
    for seed in range(40):
        moved = np.concatenate(list(walks(DYING * 0.5, how, tokens, drawer(seed)))).transpose(1, 0, 2)
        place = start + np.concatenate([np.zeros((1, tokens, dimensions)), np.cumsum(moved, axis=0)])
        radius = np.sqrt(((place - place.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1))
        own = moved - moved.mean(axis=1, keepdims=True)
        peculiar = np.concatenate([[np.nan], np.sqrt((own**2).sum(axis=2).mean(axis=1))])
        growing = Growing(radius, peculiar, how, tokens)
        (settling,) = growing.settlings([Piece("whole", 0, ROWS - 1)]).values()
        inside += settling.low <= settling.value <= settling.high
        assert settling.null == pytest.approx(1, abs=4 * (settling.high - 1) / math.sqrt(199))
    assert inside >= 34


def test_growth_beside_diffusion_does_not_hang_on_the_draw() -> None:
    """What steps add to a large cloud is known, though simulated clouds scatter by many times that."""
    way, directions = np.full(101, 1e-4), Directions(4, MEMORY, 0.0)
    radius = np.sqrt(1 + 20 * np.arange(101) * 1e-8)
    growing = Growing(radius, way, directions, 20)
    (band,) = growing.settlings([Piece("whole", 0, 100)]).values()
    assert band.high > 100
    assert band.value == pytest.approx(20, rel=1e-6)


def test_a_cloud_that_explodes_is_faster_than_its_null() -> None:
    radius = 1 + np.arange(101) / 10
    growing = Growing(radius, np.full(101, 0.1), Directions(8, MEMORY, 0.8), 50)
    (band,) = growing.flights([Piece("whole", 0, 100)]).values()
    assert band.value == pytest.approx(1)
    assert band.high < 0.5
    # One that only shrinks has grown by less than nothing.
    shrinking = Growing(radius[::-1], np.full(101, 0.1), Directions(8, MEMORY, 0.8), 50)
    assert next(iter(shrinking.flights([Piece("whole", 0, 100)]).values())).value < 0


def test_bodies_in_random_directions_drift_as_their_null() -> None:
    """In 95 of 100 cases; the dead, all together, are one body, wherever they go."""
    rng = np.random.default_rng(0)
    live, dead = np.arange(30), np.arange(30, 80)
    held = 0
    for _ in range(60):
        moved = rng.normal(size=(80, 12)) * rng.exponential(size=(80, 1))
        moved[dead] = rng.normal(size=12)
        (band,) = drifts([bodies(moved, live, dead)])
        held += band.low <= band.value <= band.high
        assert band.null == pytest.approx(1, abs=0.1)
    assert held >= 52
    assert together(np.tile([[1.0, 2]], (9, 1))) == pytest.approx(3)


def test_the_distance_of_live_and_dead_beside_random_ways() -> None:
    ways = np.random.default_rng(0).normal(size=(31, 16))
    ways[-1] *= 5
    band = separation(ways, np.zeros(16), 1.0)
    # Nothing but the way of the dead: live tokens that go anywhere have a centroid that hardly moves.
    length = float(np.linalg.norm(ways[-1]))
    assert band.low < length < band.high
    assert band.value == 1


def test_moves_to_and_fro_are_the_noise_of_rounding() -> None:
    rng = np.random.default_rng(0)
    pieces = (Piece("whole", 0, 200),)
    ulp = 2.0**-7

    def measured(moves: NDArray[np.floating[Any]], rate: float = 1.0) -> Band:
        place = 1.0 + np.concatenate([np.zeros((1, 3, 8)), np.cumsum(moves, axis=0) * ulp])
        return against_noise(place, rate, np.dtype(ml_dtypes.bfloat16), pieces)["whole"]

    noise = [measured(np.tile(rng.choice([-1, 1], (200, 1, 8)), (1, 3, 1))) for _ in range(30)]
    assert sum(band.low <= band.value <= band.high for band in noise) >= 25
    forward = measured(np.ones((200, 3, 8)))
    assert forward.value == pytest.approx(200)
    assert forward.high < 60
    # At a rate of less than half an ULP nothing can move, and there is nothing to measure.
    assert math.isnan(measured(np.ones((200, 3, 8)), ulp / 2.1).value)


def test_pieces_are_where_they_say() -> None:
    steps = np.arange(0, 2000, 4)
    assert [(p.first, p.last) for p in pieces_of(steps)] == [(0, 499), (25, 499), (0, 249), (249, 499)]
    assert steps[25] == 100
    assert [(p.first, p.last) for p in endings_of(steps)] == [(249, 499), (375, 499), (124, 249)]
    assert pieces_of(np.arange(1)) == ()


@pytest.mark.parametrize("dims", [2, 24])
def test_sums_of_many_bodies_are_those_of_bodies_in_random_directions(
    dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    moved = rng.normal(size=(3000, dims)) * rng.uniform(0.5, 1.5, (3000, 1))
    many = drifts([moved])[0], separation(moved, moved[0], 1.0)
    monkeypatch.setattr(drift, "_MANY", np.inf)
    drawn = drifts([moved])[0], separation(moved, moved[0], 1.0)
    assert many != drawn, "they are drawn otherwise"
    for one, other in zip(many, drawn, strict=True):
        assert one.value == other.value
        # Of 999 cases each, a mean is known to a thirtieth of what they scatter.
        width = other.high - other.low
        assert abs(one.null - other.null) < 0.1 * width
        assert abs(one.high - other.high) < 0.2 * width
        assert abs(one.low - other.low) < 0.2 * width


@pytest.mark.parametrize(("lengths", "many"), [([1.0] * 1000, True), ([1.0] * 999, False)])
def test_bodies_are_many_where_a_thousand_are_alike(lengths: list[float], many: bool) -> None:
    assert drift.are_many(np.array(lengths)) == many
    # One that goes as far as all the others together decides on their sum.
    assert not drift.are_many(np.array([*lengths, 1000.0]))
