"""A Zarr array or group that need not be a run's as one of two recordings."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from embevo.analysis.differing.side import Recorded, Rows, Side
from embevo.errors import AnalysisError
from embevo.run.format.dtypes import NUMPY_DTYPES

# What marks a directory as Zarr's, in format 3 and in format 2.
MARKS: Final = ("zarr.json", ".zarray", ".zgroup")
_STEP, _TOKEN = "step", "token"
_DTYPES: Final = frozenset(NUMPY_DTYPES.values())


def side_of_zarr(path: Path) -> Side:
    """A group's arrays along ``step``, or one array whose first axis is taken for it.

    Steps are what the group's array ``step`` says, and tokens what ``token`` says where an array names its
    second axis so; without the first rows are taken for steps 0, 1, 2, ...

    Raises:
        AnalysisError: nothing in it can be read as numbers over steps.
    """
    try:
        opened = zarr.open(str(path), mode="r")
    except Exception as error:  # zarr's own errors are of many classes, and have no tree.
        raise AnalysisError(f"{path} cannot be opened as Zarr: {error}") from error
    if isinstance(opened, zarr.Array):
        if not _is_numbers(opened):
            raise AnalysisError(f"{path} is {opened.dtype} of shape {opened.shape}: these are no numbers")
        arrays = {path.name: _recorded(opened, None)}
        every = np.arange(opened.shape[0])
        return Side(str(path), "Zarr array", every, arrays, _rows(opened), is_unnamed=True, main=path.name)
    found = {name: array for name, array in opened.arrays() if _is_numbers(array)}
    steps = _coordinate(found, _STEP)
    tokens = _coordinate(found, _TOKEN)
    if steps is not None and (np.diff(steps) <= 0).any():
        raise AnalysisError(f"the array step of {path} does not ascend")
    named = {name: array for name, array in found.items() if name not in (_STEP, _TOKEN)}
    if steps is None and named:
        steps = np.arange(max(array.shape[0] for array in named.values()))
    if steps is None:
        raise AnalysisError(f"{path} has no arrays of numbers over steps")
    arrays = {
        name: _recorded(array, tokens)
        for name, array in sorted(named.items())
        if array.shape[0] == len(steps) and _names(array)[0] in (None, _STEP)
    }
    main = "embeddings" if "embeddings" in arrays else next(iter(arrays), "")
    rows = max((_rows(named[name]) for name in arrays), default=1)
    said = {name: value for name, value in opened.attrs.asdict().items() if name != "embevo"}
    return Side(str(path), "Zarr group", steps, arrays, rows, settings=said, main=main)


def _is_numbers(array: "zarr.Array[Any]") -> bool:
    return array.ndim > 0 and np.dtype(array.dtype).newbyteorder("=") in _DTYPES


def _coordinate(found: "dict[str, zarr.Array[Any]]", name: str) -> NDArray[np.int64] | None:
    array = found.get(name)
    if array is None or array.ndim != 1 or np.dtype(array.dtype).kind not in "iu":
        return None
    return np.asarray(array[:], np.int64)


def _recorded(array: "zarr.Array[Any]", tokens: NDArray[np.int64] | None) -> Recorded:
    dtype = np.dtype(array.dtype).newbyteorder("=")
    names, shape = _names(array), tuple(array.shape[1:])
    known = tokens is not None and len(shape) > 0 and names[1] == _TOKEN and len(tokens) == shape[0]
    ids = tokens if tokens is not None and known and (np.diff(tokens) > 0).all() else None
    vocabulary = 0 if ids is None else len(ids)
    axes = tuple(str(axis) for axis in names[1:]) if all(names[1:]) else ()
    return Recorded(dtype, dtype, shape, partial(_read, array, dtype), axes, ids, vocabulary)


def _names(array: "zarr.Array[Any]") -> tuple[str | None, ...]:
    """The names of the axes; None where they have none, as in format 2, where xarray keeps them elsewhere."""
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    listed = tuple(named) if isinstance(named, list | tuple) else ()
    return listed if len(listed) == array.ndim else (None,) * array.ndim


def _rows(array: "zarr.Array[Any]") -> int:
    shards = getattr(array, "shards", None)
    return int((shards or array.chunks)[0])


def _read(
    array: "zarr.Array[Any]", dtype: np.dtype[Any], rows: Rows, tokens: NDArray[np.int64] | None
) -> NDArray[Any]:
    rest = (slice(None),) * (array.ndim - 1)
    if isinstance(rows, slice):
        values = np.asarray(array[(rows, *rest)])
    else:
        values = np.asarray(array.oindex[(rows, *rest)])
    # Of another byte order the bytes are turned over, and no bit is lost.
    values = values.astype(dtype, copy=False)
    return values if tokens is None else values[:, tokens]
