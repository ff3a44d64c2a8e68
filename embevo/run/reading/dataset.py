"""Run.to_xarray(): a run as an xarray dataset that reads when it is asked, and can be saved again."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embevo.errors import MissingLibraryError
from embevo.run.format.dtypes import HALVES, NUMPY_DTYPES
from embevo.run.format.widening import widen
from embevo.run.reading.step_array import StepArray

if TYPE_CHECKING:
    from embevo.run.reading.reader import Run

try:
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.backends.locks import SerializableLock
    from xarray.core import indexing
except ImportError as error:
    raise MissingLibraryError("A run as a dataset needs xarray: pip install 'embevo[analysis]'.") from error

_LARGEST_INTEGER: Final = 2**63
# The rows of a run are read one request at a time: the checks of its blocks are not made for threads.
_LOCK: Final = SerializableLock()


class _OnDemand(BackendArray):
    """An array of a run for xarray: indexed orthogonally, read when its values are needed."""

    def __init__(self, array: StepArray, dtype: np.dtype[Any]) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        with _LOCK:
            values = self._array[key]
        return values if values.dtype == self.dtype else widen(values)


def dataset_of(run: "Run", *, native: bool, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """See :meth:`embevo.run.reading.reader.Run.to_xarray`."""
    arrays = {
        name: (("step", *spec.dimensions), run[name], {"recorded_dtype": spec.dtype})
        for name, spec in run.frame.arrays
    }
    scalars: dict[str, Any] = {name: (("step",), run[name], {}) for name in run.frame.scalars}
    variables = {
        name: xr.Variable(axes, _lazy(array, native=native), notes)
        for name, (axes, array, notes) in {**arrays, **scalars}.items()
    }
    dataset = xr.Dataset(variables, _coordinates(run), _flat(run.attributes))
    if chunks is not None:
        dataset = _chunked(run, dataset).chunk(chunks)
    elif find_spec("dask"):
        # With dask, reading and saving go block by block instead of array by array.
        dataset = dataset.chunk({"step": run.layout.block_steps})
    return dataset.assign_coords(_token_strings(run, dataset))


def _chunked(run: "Run", dataset: xr.Dataset) -> xr.Dataset:
    """Arrays of dask in the chunks of the storage."""
    if not find_spec("dask"):
        raise MissingLibraryError("An array in chunks needs dask: pip install 'embevo[dask]'.")
    return dataset.assign(
        {
            str(name): array.variable.chunk(_stored_chunks(run, str(name), array.variable))
            for name, array in dataset.data_vars.items()
        }
    )


def _stored_chunks(run: "Run", name: str, variable: xr.Variable) -> dict[Any, int]:
    """By axis, what is compressed together, inner chunks of a shard; of a scalar, a block of steps."""
    array = run.layout.arrays.get(name)
    if array is None or variable.ndim == 1:
        return {"step": run.layout.block_steps}
    shape = array["chunk_grid"]["configuration"]["chunk_shape"]
    first = array["codecs"][0]
    if first["name"] == "sharding_indexed":
        shape = first["configuration"]["chunk_shape"]
    return dict(zip(variable.dims, shape, strict=True))


def _lazy(array: StepArray, *, native: bool) -> indexing.LazilyIndexedArray:
    return indexing.LazilyIndexedArray(_OnDemand(array, _dtype(array, native=native)))


def _dtype(array: StepArray, *, native: bool) -> np.dtype[Any]:
    """float32 for the 16-bit floats, which other libraries and files lack, unless they are asked for."""
    half = array.dtype in [NUMPY_DTYPES[name] for name in HALVES]
    return np.dtype(np.float32) if half and not native else array.dtype


def _coordinates(run: "Run") -> dict[str, Any]:
    coordinates: dict[str, Any] = {"step": ("step", run.steps)}
    subset = run.frame.tokens
    lengths = {
        size
        for _, spec in run.frame.arrays
        for axis, size in zip(spec.dimensions, spec.shape, strict=True)
        if axis == "token"
    }
    for length in lengths:
        coordinates["token"] = ("token", np.arange(length) if subset is None else subset.ids)
        if run.tokens is not None:
            coordinates["token_count"] = ("token", run.tokens.count)
    return coordinates


def _token_strings(run: "Run", dataset: xr.Dataset) -> dict[str, Any]:
    """The texts of the tokens, in memory also where the rest is dask's: it cannot save objects lazily."""
    names = run.token_names
    if "token" not in dataset.coords or not names.known:
        return {}
    return {"token_string": ("token", np.array(names.texts, object))}


def _flat(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as netCDF can hold them: texts and numbers as they are, all else as JSON texts."""
    return {name: value if _is_flat(value) else json.dumps(value) for name, value in attributes.items()}


def _is_flat(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
    return isinstance(value, str | float)
