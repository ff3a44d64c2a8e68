"""What selected tokens did, as a file that zarr opens: a Zarr group in a zip."""

import io
import re
import zipfile
from math import prod
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from embevo.errors import ArgumentError
from embevo.viewer.opened import OpenedRun

# So much is put together in memory, on both sides.
_MOST_BYTES: Final = 256 << 20
_CHUNK_BYTES: Final = 8 << 20
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def tokens_of(text: str, count: int) -> NDArray[np.int64]:
    """``(token,)`` ascending positions of a text such as ``0-3.7.9-12``.

    Raises:
        ArgumentError: it is none, or a token is not one of so many.
    """
    chosen = np.zeros(count, np.bool_)
    for part in text.split("."):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ArgumentError(f"{text[:80]!r} names no tokens: 0-3.7 are those at positions 0, 1, 2, 3, 7")
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        if not first <= last < count:
            raise ArgumentError(f"there are no tokens at positions {first} to {last} of {count:,}")
        chosen[first : last + 1] = True
    return np.flatnonzero(chosen)


def zipped(opened: OpenedRun, tokens: NDArray[np.int64]) -> bytes:
    """A zip of a Zarr group with all that was recorded of some tokens.

    ``zarr.open(zarr.storage.ZipStore("NAME.zip", read_only=True))`` opens it.

    It holds the matrix under its name, ``(step, token, dim)``, float64, or float32 that hold what was
    recorded exactly; ``step`` ``(step,)`` and ``token`` ``(token,)`` int64, the steps and the ids. Attributes
    say the run, the ``dtype`` in which it was recorded, and the ``label`` of each token.

    Args:
        opened: the run.
        tokens: ``(token,)`` ascending positions.

    Raises:
        ArgumentError: that is more than 256 MiB.
        DamagedError: stored bytes are not what was written.
    """
    rows, count, dim = opened.shape[0], len(tokens), opened.shape[2]
    steps = opened.steps[:rows]
    with opened.reading() as run:
        ids, labels = run.frame.token_ids[tokens], run.token_names.labels
    sample = opened.values(slice(0, 1))[:, tokens]
    size = rows * count * dim * sample.dtype.itemsize
    if size > _MOST_BYTES:
        raise ArgumentError(
            f"{count:,} tokens at {rows:,} steps are {size >> 20:,} MiB, and a page is sent up to "
            f"{_MOST_BYTES >> 20}: select fewer, or use embevo export-safetensors --tokens"
        )
    held: dict[str, Buffer] = {}
    group = zarr.create_group(
        MemoryStore(held),
        attributes={
            "run": opened.name,
            "matrix": opened.matrix,
            "dtype": opened.dtype.name,
            "label": [labels[token] for token in tokens.tolist()],
        },
    )
    _vector(group, "step", steps)
    _vector(group, "token", ids)
    row_bytes = max(1, count * dim * sample.dtype.itemsize)
    chunk = max(1, min(rows, _CHUNK_BYTES // row_bytes))
    made = group.create_array(
        opened.matrix,
        shape=(rows, count, dim),
        dtype=sample.dtype,
        chunks=(chunk, max(1, count), dim),
        dimension_names=("step", "token", "dim"),
    )
    for start, values in opened.blocks(0, rows):
        made[start : start + len(values)] = values[:, tokens]
    return _zip({name: buffer.to_bytes() for name, buffer in held.items()})


def _vector(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    made = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=(max(1, prod(values.shape)),),
        dimension_names=(name,),
    )  # fmt: skip
    made[...] = values


def _zip(entries: dict[str, bytes]) -> bytes:
    """Stored as they are: chunks are compressed already. The same entries give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            archive.writestr(zipfile.ZipInfo(name), entries[name])
    return out.getvalue()
