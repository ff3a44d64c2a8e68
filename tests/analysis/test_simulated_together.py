"""Nulls are simulated together, on threads, and in pieces: the numbers are those of the plain simulation."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo.analysis.compiled.normals import number_words
from embevo.analysis.measures import drift, normals, random_directions, walk_null, ziggurat
from embevo.analysis.measures.counting import count, lengths, total
from embevo.analysis.measures.normals import Normals, drawer
from embevo.analysis.measures.pieces import pieces_of
from embevo.analysis.measures.random_directions import Directions, walks
from embevo.analysis.measures.walk_null import against_random_walks, each_against_random_walks
from embevo.analysis.measures.walking import walk_statistics
from embevo.analysis.measures.workers import Workers

MEMORY = 0.9


def plain_walks(
    lengths: NDArray[np.float64], directions: Directions, cases: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """As they were first simulated: all of a batch at once, the moving average from one block to the next."""
    at_once = max(1, (1 << 22) // (len(lengths) * directions.dimensions))
    ages = np.arange(64)[:, None] - np.arange(64)
    kernel = np.where(ages >= 0, MEMORY ** np.maximum(ages, 0), 0.0) * np.sqrt(1 - MEMORY**2)
    kernel = kernel.astype(np.float32)
    fading = (MEMORY ** np.arange(1, 65))[:, None].astype(np.float32)
    for start in range(0, cases, at_once):
        shape = (min(at_once, cases - start), len(lengths), directions.dimensions)
        found = rng.standard_normal(shape, np.float32)
        share = directions.share + directions.error * rng.standard_normal((shape[0], 1, 1), np.float32)
        share = np.clip(share, 0, 1).astype(np.float32)
        if share.any():
            white = rng.standard_normal(shape, np.float32)
            carry = rng.standard_normal((shape[0], 1, shape[2]), np.float32)
            for first in range(0, shape[1], 64):
                piece = white[:, first : first + 64]
                size = piece.shape[1]
                piece[:] = kernel[:size, :size] @ piece + fading[:size] * carry
                carry = piece[:, -1:].copy()
            found *= np.sqrt(1 - share)
            white *= np.sqrt(share)
            found += white
        found *= (lengths / np.sqrt(np.einsum("wsd,wsd->ws", found, found)))[..., None].astype(np.float32)
        yield found


def plain_exponent(moved: NDArray[Any], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """From all places of the walks."""
    place = np.concatenate([np.zeros_like(moved[:, :1]), np.cumsum(moved, axis=1)], axis=1)
    clock = np.concatenate([[0.0], np.cumsum(lengths**2)])
    rows = np.unique(np.searchsorted(clock, np.linspace(0, clock[-1], 65) * (1 - 1e-12)))
    place, clock = place[:, rows], clock[rows]
    lags = [lag for lag in (1, 2, 4, 8, 16) if len(rows) > 2 * lag]
    times = np.log([(clock[lag:] - clock[:-lag]).mean() for lag in lags])
    times -= times.mean()
    squares = np.log([((place[:, lag:] - place[:, :-lag]) ** 2).sum(axis=2).mean(axis=1) for lag in lags])
    return np.asarray((times[:, None] * squares).sum(axis=0) / (times**2).sum(), np.float64)


@pytest.mark.parametrize(
    ("steps", "dimensions", "share", "error"),
    [(200, 64, 0.7, 0.05), (128, 1, 0.5, 0.1), (130, 5, 0.0, 0.0), (333, 9, 0.0, 0.2), (50, 8, 1.0, 0.0)],
)
def test_walks_are_to_the_bit_those_of_the_plain_simulation(
    steps: int, dimensions: int, share: float, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several batches, of several pieces each.
    monkeypatch.setattr(random_directions, "_PIECE", 3 * steps * dimensions)
    lengths = np.abs(np.random.default_rng(1).normal(size=steps)) + 0.1
    directions = Directions(dimensions, MEMORY, share, error)
    found = walks(lengths, directions, 70, drawer(5))
    expected = plain_walks(lengths, directions, 70, np.random.default_rng(5))
    for mine, plain in zip(found, expected, strict=True):
        assert mine.tobytes() == plain.tobytes()
        statistics = walk_statistics(mine, lengths)
        assert statistics[:, 0].tobytes() == plain_exponent(plain, lengths).tobytes()


@pytest.mark.parametrize("lost", [np.inf, np.nan])
def test_a_step_that_is_not_finite_has_no_direction(lost: float) -> None:
    moved = np.random.default_rng(4).normal(size=(60, 5))
    known = Directions.of(np.concatenate([moved[:30], np.zeros((1, 5)), moved[31:]]), MEMORY)
    moved[30, 2] = lost
    assert Directions.of(moved, MEMORY) == known


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_what_is_simulated_together_is_what_is_simulated_alone(jobs: int) -> None:
    rng = np.random.default_rng(2)
    paths = {
        f"{dim}": np.cumsum(
            rng.normal(size=(241, tokens, dim)) * 0.99 ** np.arange(241)[:, None, None], axis=0
        )
        for dim, tokens in ((2, 1), (20, 3), (7, 201))
    }
    paths["at rest"] = np.ones((241, 2, 3))
    pieces = pieces_of(np.arange(241))
    with Workers(jobs) as workers:
        found = each_against_random_walks(paths, MEMORY, pieces, workers, 3)
    assert {name: repr(of) for name, of in found.items()} == {
        name: repr(against_random_walks(path, MEMORY, pieces, 3)) for name, path in paths.items()
    }


def test_compiled_loops_send_bodies_the_same_ways_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pieces = [rng.normal(size=(bodies, 17)) * np.linspace(0, 1, 17) for bodies in (100, 2, 31)]
    pieces[0][7] = 0

    def found() -> str:
        return repr((drift.drifts(pieces), drift.separation(pieces[0], pieces[1][0], 2.0)))

    plain = found()
    monkeypatch.setattr(drift, "pays", lambda *_: True)
    monkeypatch.setattr(random_directions, "stretch", counted := Counted(random_directions.stretch))
    assert found() == plain
    assert counted.calls


@pytest.mark.parametrize("dims", [1, 3, 20])
def test_compiled_loops_make_the_same_walks_to_the_bit(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    moved = rng.normal(size=(331, 4, dims)) * 0.99 ** np.arange(331)[:, None, None]
    moved[60] = 0
    paths = np.cumsum(moved, axis=0)
    # Several pieces of the cache to a walk, or several walks to a piece.
    monkeypatch.setattr(random_directions, "_PIECE", 2000)
    plain = against_random_walks(paths, MEMORY, pieces_of(np.arange(331)))
    monkeypatch.setattr(walk_null, "pays", lambda *_: True)
    monkeypatch.setattr(random_directions, "stretch", counted := Counted(random_directions.stretch))
    assert repr(against_random_walks(paths, MEMORY, pieces_of(np.arange(331)))) == repr(plain)
    assert counted.calls


class Counted:
    """A function that counts how often it is called."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        return self._function(*arguments)


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_are_to_the_bit_those_of_numpy(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is too close to tell comes once in a million numbers.
    monkeypatch.setattr(ziggurat, "_WORDS", 1 << 12)
    drawing, numpys = ziggurat.Ziggurat(seed), np.random.default_rng(seed)
    monkeypatch.setattr(drawing, "_numpys", counted := Counted(drawing._numpys))
    for size in (1, 2, 100_003, 3_000_000, 4, 3_000_000):
        found = np.empty(size, np.float32)
        drawing.fill(found)
        assert found.tobytes() == numpys.standard_normal(size, np.float32).tobytes()
    assert counted.calls


def test_places_at_the_edge_of_strips_are_taken_as_numpy_does() -> None:
    strips = ziggurat._strips()
    for first in range(0, 512, 64):
        which = np.arange(first, first + 64, dtype=np.uint32)
        which = which[which % 256 > 1]
        last = ((strips[1][which] - 1) << 9) | which
        # The last place that is certain, and the first that is not, of which the next word decides.
        words = np.stack([last, last + 512, np.full_like(last, 0x7F00_1234), np.full_like(last, 0x1234_5602)])
        words = np.append(words.T.ravel(), np.zeros(64, np.uint32))
        found, done = np.empty(len(words), np.float32), np.zeros(4, np.int64)
        tail = np.empty(8, np.int64), np.empty(8, np.uint32)
        assert number_words(words, strips, found, tail, done)
        count = int(done[1])
        key = np.append(ziggurat._untempered(words), np.zeros(624 - len(words), np.uint32))
        twister = np.random.MT19937()
        twister.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": 0}}
        assert (
            found[:count].tobytes()
            == np.random.Generator(twister).standard_normal(count, np.float32).tobytes()
        )
        assert 2 * len(which) < count < 4 * len(which)


def test_a_numpy_that_draws_otherwise_draws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    width, *others = ziggurat._strips()
    monkeypatch.setattr(ziggurat, "_strips", lambda: (np.nextafter(width, np.float32(1)), *others))
    monkeypatch.setattr(normals, "as_numpy_draws", ziggurat.as_numpy_draws.__wrapped__)
    found = Normals(5, compiled=True).reader().draw((70_000,))
    assert found.tobytes() == np.random.default_rng(5).standard_normal(70_000, np.float32).tobytes()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400_000)), max_size=12), st.booleans())
def test_every_reader_reads_one_sequence_from_its_beginning(
    taken: list[tuple[int, int]], compiled: bool
) -> None:
    sequence = Normals(7, compiled=compiled, chunk=1 << 18)
    readers = [sequence.reader() for _ in range(3)]
    expected = np.random.default_rng(7).standard_normal(sum(size for _, size in taken), np.float32)
    read = [0, 0, 0]
    for who, size in taken:
        start = read[who]
        read[who] += size
        assert readers[who].draw((size,)).tobytes() == expected[start : start + size].tobytes()
    for reader in readers:
        reader.close()


def test_numbers_that_all_have_read_are_not_kept() -> None:
    sequence = Normals(0, chunk=1 << 18)
    one, other = sequence.reader(), sequence.reader()
    for _ in range(40):
        one.draw((1 << 17,))
        other.draw((1 << 17,))
        assert sequence.kept <= 2
    other.close()
    for _ in range(40):
        one.draw((1 << 17,))
        assert sequence.kept <= 2


def test_who_hands_out_work_does_what_finds_all_threads_busy() -> None:
    held, where = threading.Event(), []

    def work() -> None:
        where.append(threading.current_thread() is threading.main_thread())
        if not where[-1]:
            held.wait()

    with Workers(2) as workers:
        found = [workers.submit(work) for _ in range(5)]
        held.set()
        for one in found:
            one.result()
    assert sorted(where) == [False, False, True, True, True]


def test_threads_take_what_is_no_number_as_the_caller_does() -> None:
    with Workers(2) as workers, np.errstate(invalid="ignore"):
        found = workers.submit(lambda: np.array([np.inf]) - np.inf)
        assert np.isnan(found.result()).all()


@given(st.integers(0, 40), st.integers(0, 9))
def test_flags_and_sums_are_counted_exactly(dim: int, rows: int) -> None:
    flags = np.random.default_rng(dim).integers(0, 2, (rows, 3, dim)).astype(bool)
    np.testing.assert_array_equal(count(flags), flags.sum(axis=-1))
    numbers = np.where(flags, np.int32(65534), np.int32(-65534))
    np.testing.assert_array_equal(total(numbers), numbers.sum(axis=-1, dtype=np.int64))


@given(st.integers(1, 40), st.integers(0, 65534))
def test_lengths_of_whole_numbers_are_those_of_float64(dim: int, largest: int) -> None:
    numbers = np.random.default_rng(dim).integers(0, largest + 1, (5, 3, dim)).astype(np.int32)
    expected = np.sqrt((numbers.astype(np.float64) ** 2).sum(axis=-1))
    assert lengths(numbers, float(numbers.max())).tobytes() == expected.tobytes()
    assert lengths(numbers.astype(np.float64), float(largest)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dim", [248, 256, 264, 2056])
def test_many_flags_are_counted_exactly(dim: int) -> None:
    assert count(np.ones((2, 3, dim), bool)).tolist() == [[dim] * 3] * 2


def test_sums_of_many_numbers_do_not_overflow() -> None:
    assert total(np.full((1, 40_000), 65534, np.int32)).tolist() == [40_000 * 65534]
