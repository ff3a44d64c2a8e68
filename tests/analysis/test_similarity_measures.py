"""Rows beside other rows: where the answer is known, and beside implementations of others."""

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.csgraph
import scipy.spatial
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_distances, cosine_similarity
from sklearn.neighbors import NearestNeighbors

from embevo.analysis import Analysis, analyze
from embevo.analysis.measures.alpha_req import alpha_req
from embevo.analysis.measures.isoscore import isoscore
from embevo.analysis.measures.pairs import nearest
from embevo.analysis.measures.participation import participation
from embevo.analysis.measures.rankme import rankme
from embevo.analysis.measures.similarity import linear_cka, procrustes
from embevo.analysis.measures.spectra import Spectra
from embevo.analysis.measures.twonn import twonn
from support.clouds import DEAD, DIM, GROUPS, LIVE, ROWS, TOKENS, moving, rotated, stretched


@pytest.fixture(scope="module")
def run(field_run: Path) -> tuple[Path, NDArray[np.float64], NDArray[Any]]:
    """The run, and ``(step, token, dim)`` in float64 and as recorded."""
    values = moving()
    return field_run, values.astype(np.float64), values


@pytest.fixture(scope="module")
def found(field_run: Path) -> Analysis:
    return analyze(field_run, measures="all")


def test_cka_and_procrustes_do_not_see_a_rotation() -> None:
    points = stretched()
    assert linear_cka(points, rotated(points)) == pytest.approx(1)
    assert procrustes(points, rotated(points)) == pytest.approx(0, abs=1e-7)
    other = stretched(seed=3)
    kernels = [(of - of.mean(axis=0)) @ (of - of.mean(axis=0)).T for of in (points, other)]
    expected = (kernels[0] * kernels[1]).sum() / math.prod(np.linalg.norm(of) for of in kernels)
    assert linear_cka(points, other) == pytest.approx(expected)
    assert 0 < linear_cka(points, other) < 0.5
    one, two = ((of - of.mean(axis=0)) / np.linalg.norm(of - of.mean(axis=0)) for of in (points, other))
    turn, _ = scipy.linalg.orthogonal_procrustes(one, two)
    assert procrustes(points, other) == pytest.approx(np.linalg.norm(one @ turn - two))
    # scipy's disparity lets the scale be fitted too: 1 - s² where this is 2 - 2 s.
    _, _, disparity = scipy.spatial.procrustes(points, other)
    assert procrustes(points, other) ** 2 == pytest.approx(2 - 2 * math.sqrt(1 - disparity))
    assert math.isnan(procrustes(points, np.ones((200, 3))))
    assert math.isnan(linear_cka(points, np.ones((200, 3))))
    # Recorded numbers are not computed with in their own dtype.
    coarse = points.astype(ml_dtypes.bfloat16)
    assert linear_cka(coarse, other) == linear_cka(coarse.astype(np.float64), other)


def test_each_row_is_compared_with_the_last(run: Any, found: Analysis) -> None:
    _, values, _ = run
    steps = found.series["measured_step"].values
    assert (steps[0], steps[-1]) == (0, ROWS - 1)
    for group, ids in GROUPS[:2]:
        of = found.series.sel(group=group)
        for place, step in enumerate(steps):
            points, last = values[step, ids], values[-1, ids]
            assert of["cka_last"].values[place] == pytest.approx(linear_cka(points, last))
            assert of["procrustes_last"].values[place] == pytest.approx(procrustes(points, last), abs=1e-7)
            angles = [scipy.spatial.distance.cosine(*pair) for pair in zip(points, last, strict=True)]
            assert of["cosine_last"].values[place] == pytest.approx(1 - np.mean(angles))
            pairs = cosine_similarity(points)[np.triu_indices(len(ids), 1)]
            assert of["mean_cosine"].values[place] == pytest.approx(pairs.mean())
            centred = cosine_similarity(points - points.mean(axis=0))[np.triu_indices(len(ids), 1)]
            assert of["mean_cosine_centred"].values[place] == pytest.approx(centred.mean())
            assert of["twonn"].values[place] == pytest.approx(twonn(points))
            for name, value in (
                ("rankme", rankme(scipy.linalg.svdvals(points))),
                ("participation", participation(Spectra.of(points).variance)),
                ("isoscore", isoscore(Spectra.of(points).variance, DIM)),
                ("alpha_req", alpha_req(Spectra.of(points).variance)),
            ):
                assert of[name].values[place] == pytest.approx(value, rel=1e-5), name
    # The dead are one point: it has a direction, and no form.
    dead = found.series.sel(group="dead")
    assert dead["rankme"].values[-1] == pytest.approx(1, abs=1e-4)
    for name in ("participation", "isoscore", "alpha_req", "twonn", "cka_last", "procrustes_last"):
        assert np.isnan(dead[name].values).all(), name
    first = [scipy.spatial.distance.cosine(*pair) for pair in zip(values[0], values[-1], strict=True)]
    np.testing.assert_allclose(found.series["cosine_net"].values, 1 - np.array(first), atol=1e-12)
    assert found.series["cosine_first"].values[0] == pytest.approx(1)


def test_neighbours_are_those_of_scikit_learn(run: Any, found: Analysis) -> None:
    _, values, _ = run
    steps = found.series["measured_step"].values

    def sets(step: int) -> list[set[int]]:
        points = values[step]
        # Beyond the black hole no two distances are the same; in it, ids decide.
        apart = scipy.spatial.distance.cdist(points, points)
        np.fill_diagonal(apart, np.inf)
        return [set(np.lexsort((np.arange(TOKENS), row))[:10].tolist()) for row in apart]

    near = [sets(step) for step in steps]
    own = NearestNeighbors(n_neighbors=11).fit(values[-1]).kneighbors(values[-1], return_distance=False)
    for token in LIVE:
        assert near[-1][token] - set(DEAD) == set(own[token].tolist()) - {token} - set(DEAD)
    overlap = np.array(
        [
            [[len(a & b) / len(a | b) for a, b in zip(one, other, strict=True)] for other in near]
            for one in near
        ]
    )
    before, last = found.series["neighbours_before"], found.series["neighbours_last"]
    for group, ids in GROUPS:
        for place in range(1, len(steps)):
            assert before.sel(group=group).values[place] == pytest.approx(
                overlap[place, place - 1, ids].mean()
            )
            assert last.sel(group=group).values[place] == pytest.approx(overlap[place, -1, ids].mean())
    assert np.isnan(before.values[0]).all()
    assert (last.values[-1] == 1).all()


def test_of_equally_near_tokens_the_first_ones_are_neighbours() -> None:
    points = np.repeat(np.array([[0.0, 0], [3, 0], [0, 4]]), [4, 1, 5], axis=0)[
        [9, 0, 1, 5, 6, 4, 2, 7, 3, 8]
    ]
    apart = scipy.spatial.distance.cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    expected = np.zeros((10, 10), bool)
    for token, row in enumerate(apart):
        expected[token, np.lexsort((np.arange(10), row))[:2]] = True
    np.testing.assert_array_equal(nearest(points, 2), expected)


def test_what_is_left_of_the_way_falls_by_deciles(run: Any, found: Analysis) -> None:
    _, values, _ = run
    steps = found.series["measured_step"].values
    # Token i occurs i + 1 times.
    tenths = np.array_split(np.array(LIVE), 10)
    way = np.linalg.norm(values - values[-1], axis=2)
    for decile, tenth in enumerate(tenths):
        went = [token for token in tenth if way[0, token]]
        expected = np.median(way[steps][:, went] / way[0, went], axis=1)
        left = found.series["way_left"].values[:, decile]
        np.testing.assert_allclose(left, expected)
        assert found.series["decile_count"].values[decile] == np.median(tenth + 1)
        from_there = int(found.series["way_made"].values[decile])
        assert (left[steps >= from_there] <= 0.1).all()
        assert left[steps < from_there][-1] > 0.1
    assert found.summary["way_made_rare"] == found.series["way_made"].values[0]


def test_common_motion_is_the_share_of_the_mean(run: Any, found: Analysis) -> None:
    _, values, _ = run
    moved = np.diff(values, axis=0)
    for group, ids in (("all", list(range(TOKENS))), ("dead", DEAD)):
        of = found.series.sel(group=group)
        mean = (moved[:, ids].mean(axis=1) ** 2).sum(axis=1)
        expected = mean / (moved[:, ids] ** 2).sum(axis=2).mean(axis=1)
        np.testing.assert_allclose(of["common_motion"].values[1:], expected, rtol=1e-9)
        second = (values[:, ids] ** 2).sum(axis=2).mean(axis=1)
        np.testing.assert_allclose(of["second_moment"].values, second, rtol=1e-9)
        place = (values[:, ids].mean(axis=1) ** 2).sum(axis=1) / second
        np.testing.assert_allclose(of["common_place"].values, place, rtol=1e-9)
    assert found.summary["common_steps"]["dead"] == ROWS - 1


def test_undertrained_tokens_are_those_of_the_authors_formulas(run: Any, found: Analysis) -> None:
    points = run[1][-1]
    mean = points[DEAD].mean(axis=0)
    np.testing.assert_allclose(
        found.series["unused_cosine"].values, cosine_distances(points, mean[None])[:, 0], atol=1e-12
    )
    first = PCA(n_components=1).fit(points).components_[0]
    without = points - np.outer(points @ first, first)
    expected = cosine_distances(without, without[DEAD].mean(axis=0)[None])[:, 0]
    np.testing.assert_allclose(found.series["unused_cosine_without"].values, expected, atol=1e-9)
    np.testing.assert_allclose(
        found.series["unused_distance"].values, np.linalg.norm(points - mean, axis=1), rtol=1e-9
    )
    assert found.summary["undertrained"] == 0
