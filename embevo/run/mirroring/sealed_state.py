"""What of a run is sealed on the disk, looked at while it may be written: its rows, blocks and manifest."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from embevo.errors import DamagedError
from embevo.run.disk.checksum import digest
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.layout import GROUP_METADATA, Layout
from embevo.run.format.layout_check import layout_of
from embevo.run.manifest.entry import Block, Created, Entry
from embevo.run.manifest.manifest import LONGEST_LINE, Manifest
from embevo.run.paths import RunPaths

# The group is replaced right after the entry that names it was appended.
_TRIES: Final = 50
_PAUSE: Final = 0.01


@dataclass(frozen=True)
class SealedState:
    """A run as of one length of its group.

    Attributes:
        layout: of it.
        rows: that its group shows.
        created: the first entry.
        blocks: those that make up the rows, one a block.
    """

    layout: Layout
    rows: int
    created: Created
    blocks: Sequence[Block]

    @property
    def sends_snapshots(self) -> bool:
        """Whether its matrices are nowhere else than in its safetensors files."""
        return self.layout.store == "safetensors"

    def metadata(self, entry: Created | Block) -> Mapping[str, bytes] | None:
        """The metadata files with the rows of an entry, the group's last; None if they were others.

        An earlier version let attributes change while it recorded.
        """
        files = self.layout.metadata(entry.stop)
        same = all(digest(data) == entry.metadata.get(key) for key, data in files.items())
        return files if same and len(files) == len(entry.metadata) else None


def look(paths: RunPaths, manifest: Manifest) -> SealedState:
    """What is sealed now; the manifest is refreshed.

    Raises:
        FileNotFoundError: there is no group.
        DamagedError: the group's metadata is not what was written.
    """
    path = paths.trajectory / GROUP_METADATA
    for _ in range(_TRIES):
        data = read_regular(path, LONGEST_LINE)
        manifest.refresh()
        found = digest(data)
        entry = next((each for each in reversed(manifest.live) if each.group_digest == found), None)
        if entry is None:
            time.sleep(_PAUSE)
            continue
        try:
            layout = layout_of(json.loads(data), path)
        except MALFORMED as error:
            raise DamagedError(f"{path} is not the metadata of a run: {error}") from error
        return SealedState(layout, entry.stop, manifest.created, manifest.sealed(entry.stop))
    raise DamagedError(
        f"{path} is not what was written, or {manifest.path} is not. Run embevo recover, then embevo push."
    )


def lines_of(manifest: Manifest, start: int, entries: int) -> list[tuple[bytes, Entry]]:
    """The lines of a manifest from a position on, before which there are so many entries."""
    with manifest.path.open("rb") as file:
        file.seek(start)
        lines = file.read(manifest.end - start).splitlines(keepends=True)
    return list(zip(lines, manifest.entries[entries:], strict=True))
