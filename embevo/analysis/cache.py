"""What was computed of a run, kept in it: analysis.zarr for the series, analysis.json for the rest.

The JSON is written last and names every file of the group with its length and checksum, so that a group that
is of another analysis, incomplete or damaged is not taken for this one: it is computed anew. It is computed
anew, too, when the run has changed, or what was asked for is not what is kept.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ZarrUserWarning

from embevo.run.disk.atomic import PARTIAL, write_file
from embevo.run.disk.checksum import checksum
from embevo.run.disk.malformed import MALFORMED
from embevo.run.manifest.appender import packed
from embevo.run.manifest.entry import Annotated
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run

# Raised when the way in which it is kept changes; for what measures it, there is the digest of that code.
FORMAT: Final = 3
# What of a key may be more than is asked for: the names of measures.
MEASURED: Final = "measured"
_CHUNK_ELEMENTS: Final = 1 << 20
# Threads of a process share the name that they write under, and which warnings are silenced.
_ONE_AT_A_TIME: Final = threading.Lock()


def fingerprint(run: Run) -> dict[str, Any]:
    """What changes when the rows of a run do, or the groups of its tokens; not when these are named."""
    entries = Manifest(RunPaths(run.path).manifest).entries
    recorded = packed(entry for entry in entries if not isinstance(entry, Annotated))
    said = dataclasses.replace(run.annotations, strings=None)
    return {
        "rows": len(run.steps),
        "sealed": run.sealed_rows,
        "manifest": f"{checksum(recorded):016x}",
        "tokens": f"{checksum(said.pack()):016x}",
    }


@dataclass(frozen=True)
class Kept:
    """What was kept of a run.

    Attributes:
        series: the group, in memory.
        rest: the JSON.
    """

    series: xr.Dataset
    rest: dict[str, Any]


def load(paths: RunPaths, key: Mapping[str, Any]) -> Kept | None:
    """What was kept, if it is there, whole, of this key, and no less than that; None otherwise."""
    try:
        rest = json.loads(paths.analysis_json.read_bytes())
        same = {**rest["key"], MEASURED: None} == {**key, MEASURED: None}
        if (
            not same
            or not set(key[MEASURED]) <= set(rest["key"][MEASURED])
            or rest["files"] != _files(paths.analysis)
        ):
            return None
        with xr.open_zarr(paths.analysis, chunks=None, consolidated=True) as opened:
            series = opened.load()
    except (OSError, *MALFORMED):
        return None
    for name, coordinate in series.coords.items():
        if coordinate.dtype.kind not in "biuf":
            series[name] = coordinate.astype(object)
    return Kept(series, rest)


def save(paths: RunPaths, key: Mapping[str, Any], series: xr.Dataset, rest: Mapping[str, Any]) -> None:
    """Keep an analysis; whoever reads meanwhile finds the old one, the new one, or none.

    Args:
        paths: of the run.
        key: what it is an analysis of.
        series: what goes into the group.
        rest: what goes into the JSON.

    Raises:
        OSError: it cannot be written; the run is as it was, perhaps without an older analysis.
    """
    # Other processes may be at the same run; recovery sweeps what a kill leaves under such a name.
    partial = paths.analysis.with_name(f"{paths.analysis.name}.{os.getpid()}{PARTIAL}")
    with _ONE_AT_A_TIME:
        try:
            shutil.rmtree(partial, ignore_errors=True)
            _write(partial, series)
            files = _files(partial)
            paths.analysis_json.unlink(missing_ok=True)
            if paths.analysis.exists():
                shutil.rmtree(paths.analysis)
            partial.rename(paths.analysis)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        save_rest(paths, key, rest, files)


def save_rest(
    paths: RunPaths, key: Mapping[str, Any], rest: Mapping[str, Any], files: Mapping[str, Any]
) -> None:
    """Replace the JSON that goes with the ``files`` of a group; OSError if it cannot be written."""
    kept = {"key": key, **rest, "files": files}
    write_file(paths.analysis_json, json.dumps(kept, indent=1, allow_nan=False).encode(), sync=False)


def _write(path: Path, series: xr.Dataset) -> None:
    encoding = {}
    for name, variable in series.variables.items():
        chunks = tuple(max(1, size) for size in variable.shape)
        if variable.size > _CHUNK_ELEMENTS:
            chunks = (max(1, _CHUNK_ELEMENTS // int(np.prod(variable.shape[1:]))), *chunks[1:])
        compressors = [ZstdCodec(level=1), Crc32cCodec()]
        encoding[name] = {"chunks": chunks, "compressors": compressors} if variable.ndim else {}
    with warnings.catch_warnings():
        # Zarr's word on consolidated metadata, which the runs themselves have too.
        warnings.simplefilter("ignore", ZarrUserWarning)
        series.to_zarr(path, mode="w", zarr_format=3, consolidated=True, encoding=encoding)


def _files(root: Path) -> dict[str, list[int | str]]:
    """Name to length and checksum of every file below a directory."""
    found: dict[str, list[int | str]] = {}
    for path in sorted(root.rglob("*")):
        with contextlib.suppress(IsADirectoryError):
            data = path.read_bytes()
            found[path.relative_to(root).as_posix()] = [len(data), f"{checksum(data):016x}"]
    return found
