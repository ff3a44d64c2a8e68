"""Reading the header of a safetensors file, and refusing what is not one.

A file is the header's length in 8 bytes, little-endian; the header, a JSON object of tensor names to dtype,
shape and data_offsets; and the data, which the tensors fill without holes.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Final

from embevo.errors import NotSafetensorsError
from embevo.run.disk.regular_file import open_regular

# The format's own limit: a length beyond it is a damaged file, or another format.
_MAX_HEADER_BYTES: Final = 100_000_000
# What is no tensor of a header: texts by name.
_METADATA: Final = "__metadata__"
_BITS: Final = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32,
    "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        dtype: code of the format, such as ``BF16``.
        shape: of the tensor.
        start: where its bytes start in the file.
        nbytes: their number.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name; see :func:`read_described_header`."""
    return read_described_header(path)[0]


def read_described_header(path: Path) -> tuple[dict[str, TensorEntry], dict[str, Any]]:
    """The tensors of a safetensors file by name, and its metadata; only its header is read.

    Raises:
        NotSafetensorsError: with the path, what was found and what was expected.
        DamagedError: it is not a regular file.
        OSError: the file cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            claim = f", of which its header claims {length:,}" if len(prefix) == 8 else ""
            raise NotSafetensorsError(
                f"{path} is not a safetensors file, or was cut short: it has {size:,} bytes{claim}"
            )
        text = file.read(length)
    try:
        return _parse(text, size)
    except (ValueError, RecursionError) as error:
        raise NotSafetensorsError(f"{path} has a damaged safetensors header: {error}") from error


def _parse(text: bytes, size: int) -> tuple[dict[str, TensorEntry], dict[str, Any]]:
    """Tensors and metadata of a header, of a file of ``size`` bytes; ValueError says what is wrong."""
    start = 8 + len(text)
    header = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError(f"it is a {type(header).__name__}, not an object")  # noqa: TRY004
    entries = {name: _entry(name, fields, start) for name, fields in header.items() if name != _METADATA}
    _check_filled(entries, start, size)
    metadata = header.get(_METADATA)
    return entries, metadata if isinstance(metadata, dict) else {}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice")
    return fields


def _entry(name: str, fields: object, data_start: int) -> TensorEntry:
    if not isinstance(fields, Mapping) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} needs exactly dtype, shape and data_offsets; it has {fields!r}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"{name!r} has the unknown dtype {dtype!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has shape {shape!r} and data_offsets {offsets!r}")
    start, end = offsets
    expected = prod(shape) * _BITS[dtype] // 8
    if end - start != expected:
        raise ValueError(f"{name!r} of {dtype} {shape} takes {expected:,} bytes; data_offsets are {offsets}")
    return TensorEntry(dtype, tuple(shape), data_start + start, expected)


def _are_sizes(values: object) -> bool:
    # bool is an int to Python, not to JSON.
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_filled(entries: Mapping[str, TensorEntry], start: int, size: int) -> None:
    """The tensors must follow each other from the end of the header to the end of the file."""
    spans = sorted((entry.start, entry.start + entry.nbytes) for entry in entries.values())
    edges = [(start, start), *spans, (size, size)]
    for (_, end), (begin, _) in pairwise(edges):
        if end != begin:
            raise ValueError(
                f"its tensors should fill bytes {start:,} to {size:,} of the file without holes or overlaps; "
                f"one ends at {end:,}, the next begins at {begin:,}"
            )


def pack_header(
    tensors: Mapping[str, tuple[str, Sequence[int], int]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The header of a safetensors file: length, JSON and padding, as the safetensors library writes it.

    Args:
        tensors: name to dtype code, shape and bytes, in the order in which their data follow each other.
        metadata: texts by name, for what the file says of itself; left out where there are none.
    """
    entries: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    offset = 0
    for name, (code, shape, nbytes) in tensors.items():
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + nbytes]}
        offset += nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
