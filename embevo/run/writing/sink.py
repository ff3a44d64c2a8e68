"""Where sealed rows go: what a place for them is given, and in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from embevo.run.manifest.entry import Block


@dataclass(frozen=True)
class SealedBlock:
    """Everything that shows the rows of a block to readers, as bytes.

    Attributes:
        entry: of the manifest: its rows, steps, and the checksums of all that follows.
        files: chunk files, by key below the Zarr group; their memory is filled anew for the next block.
        metadata: every ``zarr.json`` with these rows, by key; that of the group is last.
        past_cache: whether large files are to go past the kernel's cache, so as to take less from training.
    """

    entry: Block
    files: Mapping[str, bytes | memoryview]
    metadata: Mapping[str, bytes]
    past_cache: bool = False


class Sink(Protocol):
    """A place that sealed rows go to. The writer's thread calls it, in the order of the rows."""

    def snapshot(self, step: int, image: memoryview) -> None:
        """Keep the safetensors file of a step; the memory is the ring's, and is filled anew later.

        Raises:
            OSError: with the path.
        """

    def block(self, sealed: SealedBlock) -> None:
        """Keep a block: its entry, then its files, then the metadata, the group's last.

        A short last block is replaced by a longer one with the same number. A block that fails may be given
        again, with the same bytes.

        Raises:
            OSError: with the path; what was kept before is untouched.
        """
