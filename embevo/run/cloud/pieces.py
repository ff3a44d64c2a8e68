"""The manifest of a run in object storage: numbered objects that are only ever made, and never changed.

Put one behind the other they are the first bytes of the manifest on the disk.
"""

from itertools import takewhile
from typing import Final

from embevo.errors import DamagedError
from embevo.run.cloud.bucket import Bucket

PIECES: Final = "manifest/"
TRAJECTORY: Final = "trajectory.zarr/"
SNAPSHOTS: Final = "snapshots/"
TOKENS: Final = "tokens.json"
TOKENS_PENDING: Final = "tokens.json.partial"


def piece_key(number: int) -> str:
    """The key of a piece."""
    return f"{PIECES}{number:08d}"


def read_pieces(bucket: Bucket, have: int = 0) -> list[bytes]:
    """The pieces from a number on, in order.

    Raises:
        DamagedError: one is gone that was listed.
        StorageError: the storage does not answer, or refuses.
    """
    listed = bucket.sizes(PIECES)
    numbers = takewhile(lambda number: piece_key(number) in listed, range(have, have + len(listed)))
    keys = [piece_key(number) for number in numbers]
    pieces = [stored.data for stored in bucket.get_all(keys) if stored is not None]
    if len(pieces) != len(keys):
        raise DamagedError(f"{bucket.url}/{PIECES}: a piece of the manifest was deleted while it was read")
    return pieces
