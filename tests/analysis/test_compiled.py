"""Loops that are machine code say what numpy says: counts to the bit, sums but for rounding."""

import dataclasses
import errno
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embevo.analysis.compiled import compiling
from embevo.analysis.measurement import Measurement, Stretch, outline_of
from embevo.analysis.measures.atoms import Atoms
from embevo.analysis.measures.clouds import Clouds
from embevo.analysis.measures.lagged import LagSums
from embevo.analysis.measures.lattice import bits_of
from embevo.analysis.measures.moves import Moves
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.reading.reader import open_run

ROWS, TOKENS, DIM = 70, 13, 8
GROUPS = [
    np.arange(TOKENS),
    np.array([1, 2, 5, 7, 8, 12]),
    np.array([0, 3, 4, 6, 9, 10, 11]),
    np.array([], np.int64),
    np.array([0, 1, 2, 5, 6]),
    np.array([4]),
]


def values(dtype: str) -> NDArray[Any]:
    """A cloud far from the origin, with tokens at one place, at rest and lost, and zeros of both signs."""
    rng = np.random.default_rng(3)
    found = 1 + np.cumsum(rng.normal(size=(ROWS, TOKENS, DIM)) * 0.01, axis=0)
    found[:, [0, 3, 4]] = found[:, :1]
    found[20:40, 7] = found[20, 7]
    found[:, 5] = np.where(np.arange(ROWS)[:, None] % 3, 0.0, -0.0)
    found[30, 8, 2] = np.nan
    found[50, 9, 1] = np.inf
    return found.astype(NUMPY_DTYPES[dtype])


def wide(found: NDArray[Any]) -> NDArray[Any]:
    return found.astype(np.float32) if found.dtype.itemsize == 2 else found


def close(one: NDArray[Any], other: NDArray[Any], near: float = 1e-12) -> None:
    """Within what rounding makes of numbers as large as the largest."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    if one.dtype.kind != "f":
        assert one.tolist() == other.tolist()
        return
    size = np.abs(one[np.isfinite(one)]).max(initial=0)
    np.testing.assert_allclose(one, other, rtol=near, atol=near * size)


@pytest.mark.parametrize("less", [False, True])
@pytest.mark.parametrize("groups", [GROUPS, GROUPS[:1], [GROUPS[0], np.arange(5), np.arange(5, TOKENS)]])
def test_clouds(groups: list[NDArray[np.int64]], less: bool) -> None:
    extended = wide(values("bfloat16"))
    atoms = Atoms.of(groups)
    points = extended.astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = Clouds.of(np.diff(points, axis=0) if less else points[1:], atoms)
        found = Clouds.compiled(extended, atoms, less=less)
    for name in ("centre", "mean", "largest", "lengths"):
        close(getattr(found, name), getattr(expected, name))
    # Tokens at one place are at no distance from it.
    alone = Clouds.compiled(extended[:, [0, 3, 4]].copy(), Atoms.of([np.arange(3)]), less=less)
    assert not alone.mean.any()
    assert not alone.largest.any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_moves(dtype: str) -> None:
    kind = NUMPY_DTYPES[dtype]
    bits = bits_of(values(dtype), kind)
    limit = np.where(np.arange(ROWS - 1) % 9 == 2, np.nan, 2.0 ** (-np.arange(ROWS - 1) / 9).round())
    found, expected = (Moves.of(bits[1:], bits[0], limit, kind, compiled=on) for on in (True, False))
    for field in dataclasses.fields(Moves):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        assert one.dtype == other.dtype
        close(one, other, 1e-15)


@pytest.mark.parametrize("cuts", [[0, ROWS], [0, 9, 41, ROWS]])
def test_lagged_differences(cuts: list[int]) -> None:
    # Of so many rows there are lags of several spacings.
    rng = np.random.default_rng(0)
    rows = np.cumsum(rng.normal(size=(200, TOKENS, DIM)), axis=0).astype(np.float32)
    bounds = [cut * 200 // ROWS for cut in cuts]
    of = {}
    for on in (True, False):
        parts = []
        for start, stop in pairwise(bounds):
            parts.append(LagSums(200, GROUPS, start, compiled=on))
            parts[-1].add(rows[np.maximum(np.arange(start - 1, stop), 0)], start)
        for later in parts[1:]:
            parts[0].merge(later)
        parts[0].settle()
        of[on] = parts[0]
    for name in ("squares", "origins", "products", "powers", "msd", "vacf"):
        close(getattr(of[True], name), getattr(of[False], name))


@pytest.fixture
def always_compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiling, "_FEWEST", 0)
    yield
    compiling.installed.cache_clear()


def measured(path: Path) -> Measurement:
    run = open_run(path)
    stretch = Stretch(outline_of(run, "embeddings"))
    with np.errstate(invalid="ignore"):
        stretch.take(run["embeddings"].native[:])
    return stretch.finish()


@pytest.mark.usefixtures("always_compiled")
def test_a_run_is_measured_alike_with_numba_and_without(
    field_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_numba = measured(field_run)
    # As where it is missing, or refuses the numpy that is there.
    monkeypatch.setitem(sys.modules, "numba", None)
    compiling.installed.cache_clear()
    without = measured(field_run)
    assert (with_numba.outline.compiled, without.outline.compiled) == (True, False)
    assert with_numba.arrays.keys() == without.arrays.keys()
    for name, array in with_numba.arrays.items():
        close(array, without.arrays[name])


def squared(values: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    for place in range(len(values)):
        found[place] += values[place] * values[place]


@pytest.mark.parametrize("what", ["no directory", "full", "damaged"])
def test_what_cannot_be_kept_is_made_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(pytest.importorskip("numba").config, "CACHE_DIR", str(tmp_path))
    if what == "no directory":
        monkeypatch.setattr(caching.FunctionCache._impl_class, "_locator_classes", [])
    elif what == "full":

        def save(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(caching.IndexDataCacheFile, "save", save)
    else:
        compiling.compiled(squared)(np.ones(2), np.zeros(2))
        (index,) = tmp_path.rglob("*.nbi")
        index.write_bytes(index.read_bytes()[:40])
    found = np.zeros(3)
    compiling.compiled(squared)(np.arange(3.0), found)
    assert found.tolist() == [0, 1, 4]


def test_a_short_run_loads_nothing(field_run: Path) -> None:
    assert not outline_of(open_run(field_run), "embeddings").compiled
    assert compiling.pays(compiling._FEWEST, 1)
