"""Reading what is said of the tokens of a run: what the manifest names, or an error, never anything else."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.checksum import Digest, digest
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.token_names import MOST_BYTES, Annotations
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.fetching import fetcher_of

GIVE_AGAIN: Final = (
    "It is nowhere else in the run. embevo annotate RUN --clear forgets what it held, and what is given with "
    "--tokenizer, --corpus and --groups is entered anew."
)
# Between two looks it may be replaced once, or a second time.
_TRIES: Final = 5


def read_annotations(paths: RunPaths, manifest: Manifest, ids: NDArray[np.int64]) -> Annotations:
    """What is said of the tokens ``ids`` of a run; empty annotations where nothing is.

    Raises:
        DamagedError: the file that the manifest names is not there, or not what was written.
    """
    for _ in range(_TRIES):
        entered = manifest.annotated
        if entered is None:
            return Annotations()
        data = _bytes_of(paths, entered)
        if data is not None:
            return _parsed(paths, data, ids)
        for path in (paths.tokens, paths.tokens_pending):
            fetcher_of(paths.root)(path.name, again=True)
        manifest.refresh()
    state = "is not what was written" if paths.tokens.exists() else "is missing"
    raise DamagedError(f"{paths.tokens} {state}. {GIVE_AGAIN}")


def _bytes_of(paths: RunPaths, entered: Digest) -> bytes | None:
    """The bytes of this digest, wherever they are while the file is being replaced."""
    for path in (paths.tokens, paths.tokens_pending, paths.tokens):
        try:
            data = read_regular(path, MOST_BYTES)
        except (FileNotFoundError, DamagedError):
            continue
        if digest(data) == entered:
            return data
    return None


def _parsed(paths: RunPaths, data: bytes, ids: NDArray[np.int64]) -> Annotations:
    try:
        return Annotations.parse(data, ids)
    except MALFORMED as error:
        raise DamagedError(f"{paths.tokens} is not one that embevo writes: {error}") from error
