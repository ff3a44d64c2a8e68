"""The layout that a group's metadata describes, if it is one that embevo writes.

Of the codecs it is checked that embevo can write with them; the rest is left to zarr, whose own errors are
caught where it reads.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from embevo.run.disk.checksum import checksum
from embevo.run.errors import MALFORMED, DamagedError, FrameMismatchError
from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.journal.ring import Journal
from embevo.run.manifest.entry import Entry

_MOST: Final = 2**63
_HALVES: Final = ("bfloat16", "float16")


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
    matrices = {} if own["store"] == "safetensors" else dict(frame.matrices)
    tokens, dim = frame.shape
    expected: dict[str, tuple[str, list[int], list[str]]] = {
        "step": ("int64", [rows], ["step"]),
        "token": ("int64", [tokens], ["token"]),
        **{name: ("float64", [rows], ["step"]) for name in frame.scalars},
        **{
            name: (
                "float32" if wide and dtype in _HALVES else dtype,
                [rows, tokens, dim],
                ["step", "token", "dim"],
            )
            for name, dtype in matrices.items()
        },
    }
    if "token_count" in arrays:
        expected["token_count"] = expected["token"]
    if arrays.keys() != expected.keys():
        raise ValueError(f"the arrays are {sorted(arrays)}; {sorted(expected)} were expected")
    for name, (dtype, shape, dimensions) in expected.items():
        array = arrays[name]
        found = (array["data_type"], array["shape"], array["dimension_names"])
        if found != (dtype, shape, dimensions):
            raise ValueError(f"{name} is {found}; {(dtype, shape, dimensions)} was expected")
        _check_chunks(name, array, shape, steps if dimensions[0] == "step" else tokens)
        if name in matrices:
            # As far as recovering writes more of them: ValueError or KeyError for codecs of somebody else.
            ChunkEncoder.of(array)
    return Layout.from_group(group)


def _check_chunks(name: str, array: Mapping[str, Any], shape: list[int], first: int) -> None:
    """ValueError unless chunks have the given first size and, of a matrix, hold all tokens and dims."""
    chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
    if len(shape) == 1:
        if chunk != [first]:
            raise ValueError(f"{name} has chunks of {chunk}")
        return
    tokens = chunk[1]
    if not _is_size(tokens) or tokens < 1 or chunk != [first, tokens, shape[2]]:
        raise ValueError(f"{name} has chunks of {chunk}")
    codec = array["codecs"][0]
    if codec["name"] == "sharding_indexed":
        inner = codec["configuration"]["chunk_shape"]
        if (
            not _is_size(inner[1])
            or inner[1] < 1
            or inner != [first, inner[1], shape[2]]
            or tokens % inner[1]
        ):
            raise ValueError(f"{name} has chunks of {inner} in shards of {chunk}")


def check_blocks(layout: Layout, entries: Iterable[Entry], path: Path) -> None:
    """Raise DamagedError unless the entries of blocks name the files that the layout gives these blocks."""
    parts = _parts(layout)
    number = sum(max(1, count) for count in parts.values())
    metadata = {"zarr.json", *(f"{name}/zarr.json" for name in layout.arrays)}
    for entry in entries:
        block, (first, stop) = entry["block"], entry["rows"]
        start = block * layout.block_steps
        if (
            # Before as many names are made as somebody has claimed that there are.
            len(entry["files"]) != number
            or entry["files"].keys() != set(files_of_block(layout, block))
            or entry["metadata"].keys() != metadata
            or first != start
            or stop > start + layout.block_steps
        ):
            raise DamagedError(
                f"{path}: the entry of block {block} (rows {first} to {stop}) does not fit the group's "
                "metadata. embevo has not written that."
            )


def growing(layout: Layout) -> list[str]:
    """The arrays along ``step``, in the order in which their chunks are written."""
    return ["step", *layout.frame.scalars, *layout.matrices]


def files_of_block(layout: Layout, block: int) -> Iterator[str]:
    """The keys of the chunk files of a block."""
    for name, count in _parts(layout).items():
        if count:
            yield from (f"{name}/c.{block}.{part}.0" for part in range(count))
        else:
            yield f"{name}/c.{block}"


def _parts(layout: Layout) -> dict[str, int]:
    """The arrays that grow, and into how many files the tokens of each are divided; 0 for a vector."""
    parts = dict.fromkeys(growing(layout), 0)
    for name in layout.matrices:
        file_tokens = layout.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][1]
        parts[name] = -(-layout.frame.shape[0] // file_tokens)
    return parts


def identity(layout: Layout) -> str:
    """What a journal calls the run that it belongs to: a checksum of the attributes of the group."""
    text = json.dumps(dict(layout.attributes), sort_keys=True)
    return f"{checksum(text.encode()):016x}"


def check_journal(journal: Journal, layout: Layout) -> None:
    """Raise DamagedError unless a journal is the run's own and has a ring of at most two blocks."""
    if journal.run not in {"", identity(layout)}:
        raise DamagedError(
            f"{journal.path} belongs to another run, whose attributes are different ones. Move it away."
        )
    if journal.frame != layout.frame or journal.slots > 2 * layout.block_steps:
        raise DamagedError(
            f"{journal.path} has {journal.slots} slots for {journal.frame.to_json()}; the group has blocks "
            f"of {layout.block_steps} steps of {layout.frame.to_json()}. It belongs to another run."
        )


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST
