"""A run that is measured in stretches, on any number of threads, gives the same to the last bit."""

import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.analysis import analyze, reading, stretches
from embevo.analysis.measurement import Measurement, Stretch, outline_of
from embevo.analysis.measures.gram import squared_distances
from embevo.analysis.measures.lagged import LagSums
from embevo.analysis.measures.pieces import pieces_of
from embevo.analysis.reading import values_of
from embevo.errors import ArgumentError, DamagedError
from embevo.run.reading.reader import open_run
from support import trajectories

TOKENS, DIM = 9, 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = trajectories.brownian(700, TOKENS, DIM) + 1
    values[:, 2] = np.where(np.arange(700)[:, None] % 9 < 5, values[:, 4], values[:, 2])
    values[60:200, 5] = np.nan
    steps = [*range(300), *range(310, 710)]
    path = tmp_path_factory.mktemp("runs") / "run"
    return trajectories.record(
        path, values.astype(ml_dtypes.bfloat16), steps=steps, dead=[2, 4], store="both", block_steps=16
    )


def bits(found: Measurement) -> dict[str, Any]:
    arrays = {name: array.tolist() for name, array in found.arrays.items() if array.dtype == object}
    arrays |= {name: array.tobytes() for name, array in found.arrays.items() if array.dtype != object}
    return {**arrays, "events": [event.to_json() for event in found.events], "numbers": repr(found.numbers)}


def test_numbers_are_the_same_to_the_bit_on_any_number_of_threads(run: Path) -> None:
    opened = open_run(run)
    assert len(stretches.bounds_of(opened, "embeddings")) == 4
    with np.errstate(invalid="ignore", over="ignore"):
        one, two, five = (bits(stretches.measure(opened, "embeddings", jobs=jobs)) for jobs in (1, 2, 5))
    assert one == two == five


@pytest.mark.parametrize("large", [False, True], ids=["of a small matrix", "of a large one"])
def test_stretches_are_what_one_pass_over_all_rows_is(
    run: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_run(run)
    if large:
        monkeypatch.setattr(reading, "_PART_BYTES", 8 * TOKENS * DIM)
    # Few long rows are enough for many stretches.
    assert len(stretches.bounds_of(opened, "embeddings")) == (9 if large else 4)
    outline = outline_of(opened, "embeddings")
    with np.errstate(invalid="ignore", over="ignore"):
        whole = Stretch(outline)
        whole.take(values_of(opened, "embeddings", slice(0, outline.rows)))
        expected, found = whole.finish(), stretches.measure(opened, "embeddings", jobs=2)
    for name, array in expected.arrays.items():
        if array.dtype.kind != "f":
            assert found.arrays[name].tolist() == array.tolist(), name
        else:
            scale = np.abs(array[np.isfinite(array)]).max(initial=0)
            np.testing.assert_allclose(
                found.arrays[name], array, rtol=1e-12, atol=1e-12 * scale, err_msg=name
            )
    assert found.events == expected.events


def test_the_rows_that_are_done_are_told(run: Path) -> None:
    told: list[tuple[int, int]] = []
    walks: list[tuple[int, int]] = []
    analyze(
        run,
        jobs=2,
        keep=False,
        on_rows=lambda done, rows: told.append((done, rows)),
        on_walks=lambda done, steps: walks.append((done, steps)),
    )
    assert told[-1] == (700, 700)
    assert told == sorted(told)
    # 199 walks for each piece of the run, of live tokens and of dead ones: neither of the centroid, which is
    # lost with a token, nor the 28 of that one.
    steps = (2 * 199 - 28) * sum(piece.intervals for piece in pieces_of(open_run(run).steps))
    assert (walks[0], walks[-1]) == ((0, steps), (steps, steps))
    assert walks == sorted(walks)


def test_damage_in_a_later_stretch_ends_it_and_leaves_no_thread(run: Path, tmp_path: Path) -> None:
    damaged = trajectories.record(
        tmp_path / "run", trajectories.brownian(700, 4, 2).astype(np.float32), block_steps=16
    )
    (chunk,) = (damaged / "trajectory.zarr/embeddings").glob("c.43.*")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamagedError, match="steps 688"):
        analyze(damaged, jobs=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embevo-measure")]


def test_what_stops_the_caller_stops_the_threads(run: Path) -> None:
    def stop(done: int, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(run, jobs=2, keep=False, on_rows=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embevo-measure")]


def test_no_thread_is_refused(run: Path) -> None:
    with pytest.raises(ArgumentError, match="at least 1, not 0"):
        analyze(run, jobs=0)


@given(st.data())
@settings(max_examples=60)
def test_lagged_sums_keep_their_digits_whatever_the_motion(data: st.DataObject) -> None:
    """Against differences in extended precision: far jumps, coming back, rest, drift, and tiny motion."""
    rows, tokens, dim = 90, 3, 2
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    points = np.cumsum(rng.normal(size=(rows, tokens, dim)), axis=0) * data.draw(
        st.sampled_from([0.0, 1e-9, 1e-3, 1.0]), "scale"
    )
    points += np.arange(rows)[:, None, None] * data.draw(st.sampled_from([0.0, 1e-3, 1.0]), "drift")
    for row in data.draw(st.lists(st.integers(0, rows - 1), max_size=3), "jumps"):
        points[row:] += data.draw(st.sampled_from([1.0, 1e3, 1e6]), "jump")
    if data.draw(st.booleans(), "there and back"):
        points = np.where(np.arange(rows)[:, None, None] % 2, points[:1], points[1:2])
    points = points.astype(np.float32).astype(np.float64)
    sums = LagSums(rows, [np.arange(tokens), np.array([1])])
    values = np.concatenate([points[:1], points])
    for start in range(0, rows, 30):
        sums.add(values[start : start + 31], start)
    sums.settle()
    exact = points.astype(np.longdouble)
    for index, lag in enumerate(sums.lags.tolist()):
        if lag <= 32:
            apart = ((exact[lag:] - exact[:-lag]) ** 2).sum(axis=2)
            for group, ids in enumerate(([0, 1, 2], [1])):
                expected = float(apart[:, ids].mean(axis=1).mean())
                np.testing.assert_allclose(sums.msd[index, group], expected, rtol=1e-12)


def test_a_distance_that_is_little_of_what_it_is_a_sum_of_is_doubted() -> None:
    there_and_back = np.array([[0.0], [1.0], [-1.0], [1e-9]])
    distance, doubtful = squared_distances((there_and_back @ there_and_back.T)[None])
    assert distance[0, 0, 1] == 1
    assert doubtful[0, 0].tolist() == [False, False, True, True]


def test_more_blocks_than_a_stretch_has_are_not_cut(run: Path) -> None:
    opened = open_run(run)
    bounds = stretches.bounds_of(opened, "embeddings")
    assert all(bound % opened.layout.block_steps == 0 for bound in bounds[:-1])
    assert bounds[-1] == 700
