"""Estimates whose errors can be worked out or simulated, and sums that do not depend on how rows arrive."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.analysis.measures.exponent import fit_exponent
from embevo.analysis.measures.groups import Groups
from embevo.analysis.measures.lagged import SEGMENTS, LagSums
from embevo.run.format.tokens import Tokens
from support import trajectories


def sums_of(points: np.ndarray, cuts: list[int]) -> LagSums:
    """Fed in pieces that end at the cuts."""
    sums = LagSums(len(points), [np.arange(points.shape[1]), np.zeros(0, np.int64)])
    values = np.concatenate([points[:1], points])
    bounds = [0, *cuts, len(points)]
    for start, stop in pairwise(bounds):
        sums.add(values[start : stop + 1], start)
    sums.settle()
    return sums


@given(st.lists(st.integers(1, 149), max_size=12, unique=True).map(sorted))
def test_lagged_sums_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    points = trajectories.brownian(150, 2, 3)
    whole, pieces = sums_of(points, []), sums_of(points, cuts)
    np.testing.assert_array_equal(pieces.origins, whole.origins)
    np.testing.assert_allclose(pieces.msd, whole.msd, rtol=1e-12)
    np.testing.assert_allclose(pieces.vacf, whole.vacf, rtol=1e-9, atol=1e-12)
    assert np.isnan(whole.msd[:, 1]).all()


def test_motion_that_dies_down_is_not_taken_for_faster_than_it_is() -> None:
    """Against the mean over all origins: the first, most violent row must not count for a whole stretch."""
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(1001, 4, 16)) * np.exp(-np.arange(1001) / 40)[:, None, None], axis=0)
    sums = sums_of(points, [])
    for index, lag in enumerate(sums.lags.tolist()):
        if lag <= 100:
            moved = points[lag:] - points[:-lag]
            assert sums.msd[index, 0] == pytest.approx((moved**2).sum(axis=2).mean(), rel=0.05), lag


def test_a_fit_needs_lags_and_stretches() -> None:
    lags = np.array([10, 12, 14, 16, 20])
    origins = np.full((SEGMENTS, 5), 7)
    squares = origins * lags**1.5 * 3.0
    fit = fit_exponent(lags, squares, origins, min_lag=10, max_lag=20)
    assert (fit.value, fit.low, fit.high) == (pytest.approx(1.5), pytest.approx(1.5), pytest.approx(1.5))
    assert (fit.short, fit.long) == (pytest.approx(1.5), pytest.approx(1.5))
    # Ballistic up to 14 and Brownian from there on.
    bent = np.where(lags <= 14, lags**2 / 14.0, lags)
    halves = fit_exponent(lags, origins * bent, origins, min_lag=10, max_lag=20)
    assert (halves.short, halves.long) == (pytest.approx(2), pytest.approx(1))
    assert (fit.prefactor, fit.first_lag, fit.last_lag) == (pytest.approx(3), 10, 20)
    assert np.isnan(fit_exponent(lags, squares, origins, min_lag=13, max_lag=20).value)
    # A stretch without origins, after a gap, leaves a value and takes its range away.
    origins[3] = squares[3] = 0
    gone = fit_exponent(lags, squares, origins, min_lag=10, max_lag=20)
    assert gone.value == pytest.approx(1.5)
    assert np.isnan(gone.low)
    assert np.isnan(fit_exponent(lags, squares * 0, origins, min_lag=10, max_lag=20).value)


def test_a_sample_keeps_live_and_dead_apart() -> None:
    counts = np.arange(100) % 3
    groups = Groups.of(100, Tokens(counts))
    sample = groups.sampled(30)
    assert len(sample["all"]) <= 35
    assert set(sample["live"]) <= set(groups["live"])
    assert set(sample["dead"]) <= set(groups["dead"])
    assert sorted([*sample["live"], *sample["dead"]]) == sample["all"].tolist()
    assert groups.sampled(100) is groups
    assert Groups.of(10, None).sampled(5)["all"].tolist() == [0, 2, 4, 6, 8]
