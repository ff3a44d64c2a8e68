"""The layout that a group's metadata describes, if it is one that embevo writes.

Of the codecs it is checked that embevo can write with them; the rest is left to zarr, whose own errors are
caught where it reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from embevo.errors import DamagedError, FrameMismatchError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.cells import cells_of, format_of
from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.dtypes import HALVES
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.format.shards import Shards

_MOST: Final = 2**63


def layout_of(group: object, path: Path) -> Layout:
    """The layout of a group.

    Args:
        group: the value of its zarr.json.
        path: where it was found, for errors.

    Raises:
        DamagedError: it is not what embevo writes.
    """
    try:
        return _checked(group)
    except (*MALFORMED, FrameMismatchError) as error:
        raise DamagedError(
            f"{path} does not describe the group of a run: {type(error).__name__}: {error}. "
            "embevo has not written that."
        ) from error


def _checked(group: Any) -> Layout:
    own = group["attributes"]["embevo"]
    arrays: Mapping[str, Any] = group["consolidated_metadata"]["metadata"]
    frame = FrameSpec.from_json(own["frame"])
    shards = Shards.from_json(own["shards"]) if "shards" in own else None
    part = own.get("part")
    if own["format"] != format_of(frame, divided=shards is not None or part is not None):
        raise ValueError(f"a run of format {own['format']!r} does not record such a frame")
    if shards is not None:
        shards.check(frame)
    cells = cells_of(frame, shards, part)
    steps = own["block_steps"]
    if not _is_size(steps) or steps < 1:
        raise ValueError(f"block_steps is {steps!r}")
    if own["store"] not in {"both", "zarr", "safetensors"}:
        raise ValueError(f"the store is {own['store']!r}")
    if own["zarr_dtype"] not in {"float32", "native"}:
        raise ValueError(f"zarr_dtype is {own['zarr_dtype']!r}")
    rows = arrays["step"]["shape"][0]
    if not _is_size(rows):
        raise ValueError(f"step has {rows!r} rows")
    wide = own["zarr_dtype"] == "float32"
    matrices = {} if own["store"] == "safetensors" else frame.by_name
    tokens = frame.token_count
    expected: dict[str, tuple[str, list[int], list[str]]] = {
        "step": ("int64", [rows], ["step"]),
        **({"token": ("int64", [tokens], ["token"])} if tokens else {}),
        **{name: ("float64", [rows], ["step"]) for name in frame.scalars},
        **{
            name: (
                "float32" if wide and spec.dtype in HALVES else spec.dtype,
                [rows, *spec.shape],
                ["step", *spec.dimensions],
            )
            for name, spec in matrices.items()
        },
    }
    if "token_count" in arrays and tokens:
        expected["token_count"] = expected["token"]
    if arrays.keys() != expected.keys():
        raise ValueError(f"the arrays are {sorted(arrays)}; {sorted(expected)} were expected")
    for name, (dtype, shape, dimensions) in expected.items():
        array = arrays[name]
        found = (array["data_type"], array["shape"], array["dimension_names"])
        if found != (dtype, shape, dimensions):
            raise ValueError(f"{name} is {found}; {(dtype, shape, dimensions)} was expected")
        first = steps if dimensions[0] == "step" else tokens
        _check_chunks(name, array, [first, *cells.get(name, ())], divided=own["format"] == 3)
        if name in matrices:
            # Recovering writes more of these chunks: ValueError or KeyError for codecs that it could not use.
            ChunkEncoder.of(array)
    layout = Layout.from_group(group)
    if layout.schedule is not None and layout.schedule.to_json() != own["schedule"]:
        raise ValueError(f"the schedule is {own['schedule']!r}")
    return layout


def _check_chunks(name: str, array: Mapping[str, Any], cell: list[int], *, divided: bool) -> None:
    """ValueError unless chunks divide a cell along its second axis only, and a divided array into equals."""
    chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
    if len(cell) == 1:
        if chunk != cell:
            raise ValueError(f"{name} has chunks of {chunk}")
        return
    tokens = chunk[1]
    if (
        not all(map(_is_size, cell))
        or not _is_size(tokens)
        or tokens < 1
        or chunk != [cell[0], tokens, *cell[2:]]
    ):
        raise ValueError(f"{name} has chunks of {chunk}")
    if divided and cell[1] % tokens:
        raise ValueError(f"{name} has chunks of {chunk}, which cross the border of its pieces")
    codec = array["codecs"][0]
    if codec["name"] == "sharding_indexed":
        inner = codec["configuration"]["chunk_shape"]
        if (
            not _is_size(inner[1])
            or inner[1] < 1
            or inner != [cell[0], inner[1], *cell[2:]]
            or tokens % inner[1]
        ):
            raise ValueError(f"{name} has chunks of {inner} in shards of {chunk}")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST
