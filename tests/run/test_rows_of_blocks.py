"""Rows that are asked for one by one are those of the array, in that order, and cost no more than a range."""

from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from embevo import open_run
from embevo.run.format.decoding import ChunkDecoder
from embevo.run.reading.reader import Run
from support import encoded, written

ROWS, SHAPE = 19, (5, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Blocks of four rows, the last of three."""
    path = tmp_path_factory.mktemp("blocks") / "run"
    written.write_run(path, rows=ROWS, sealed=ROWS, store="zarr").journal.close()
    return open_run(path)


@given(st.lists(st.integers(-ROWS, ROWS - 1), max_size=30))
def test_any_list_of_rows_in_any_order(run: Run, rows: list[int]) -> None:
    expected = encoded.matrices(range(ROWS), SHAPE, "float32")[rows]
    np.testing.assert_array_equal(run["embeddings"][np.array(rows, np.int64)], expected)
    np.testing.assert_array_equal(run["embeddings"][np.array(rows, np.int64), 1:3], expected[:, 1:3])


def test_zarr_is_asked_for_ranges(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the codecs are such that only zarr can read them."""

    def unknown(*_: Any) -> None:
        raise ValueError("of another")

    monkeypatch.setattr(ChunkDecoder, "of", unknown)
    run = open_run(run.path)
    asked: list[Any] = []
    real = zarr.Array.get_orthogonal_selection

    def watched(array: Any, selection: Any, **how: Any) -> Any:
        asked.append(selection[0])
        return real(array, selection, **how)

    monkeypatch.setattr(zarr.Array, "get_orthogonal_selection", watched)
    found = run["embeddings"][np.array([9, 1, 2, 8])]
    assert asked == [slice(1, 3), slice(8, 10)]
    np.testing.assert_array_equal(found, encoded.matrices([9, 1, 2, 8], SHAPE, "float32"))
