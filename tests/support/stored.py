"""Reading what lies in object storage with others' readers."""

from typing import Any

import numpy as np
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore

from embevo.run.cloud.bucket import Bucket


def group(url: str) -> zarr.Group:
    """The Zarr group of a run at a URL, as plain zarr opens it."""
    store: Any = from_url(f"{url}/trajectory.zarr", client_options={"allow_http": True})
    return zarr.open_group(ObjectStore(store, read_only=True), mode="r")


def values(url: str) -> tuple[list[int], np.ndarray[Any, Any]]:
    """The steps and the embeddings that plain zarr sees at a URL."""
    opened = group(url)
    return np.asarray(opened["step"][:]).tolist(), np.asarray(opened["embeddings"][:])


def objects(url: str) -> dict[str, bytes]:
    """Every object, by key."""
    bucket = Bucket(url)
    return {key: stored.data for key in bucket.sizes("") if (stored := bucket.get(key)) is not None}
