"""Whether the entries of blocks are those of a run with this layout."""

from collections.abc import Iterable
from math import prod
from pathlib import Path

from embevo.errors import DamagedError
from embevo.run.format.layout import GROUP_METADATA, Layout, files_by_array, files_of_block
from embevo.run.manifest.entry import Block


def check_blocks(layout: Layout, blocks: Iterable[Block], path: Path) -> None:
    """Raise DamagedError unless the entries of blocks name the files that the layout gives these blocks."""
    parts = files_by_array(layout)
    number = sum(prod(counts) for counts in parts.values())
    metadata = {GROUP_METADATA, *(f"{name}/zarr.json" for name in layout.arrays)}
    for block in blocks:
        start = block.number * layout.block_steps
        if (
            # Before as many names are made as an untrusted line claims that there are.
            len(block.files) != number
            or block.files.keys() != set(files_of_block(layout, block.number))
            or block.metadata.keys() != metadata
            or block.first != start
            or block.stop > start + layout.block_steps
        ):
            raise DamagedError(
                f"{path}: the entry of block {block.number} (rows {block.first} to {block.stop}) does not "
                "fit the group's metadata. embevo has not written that."
            )
