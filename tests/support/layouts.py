"""Layouts of runs for tests, with as little said as a test cares for."""

from collections.abc import Mapping
from typing import Any

from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype
from embevo.run.format.shards import Shards


def layout_of(
    frame: FrameSpec,
    block_steps: int,
    *,
    store: Store = "zarr",
    zarr_dtype: ZarrDtype = "float32",
    counted: bool = False,
    attributes: Mapping[str, Any] | None = None,
    shards: Shards | None = None,
) -> Layout:
    """The layout of a new run; ``counted`` if it has the array ``token_count``."""
    return Layout.new(
        frame,
        block_steps=block_steps,
        store=store,
        zarr_dtype=zarr_dtype,
        has_token_count=counted,
        attributes=attributes or {},
        shards=shards,
    )
