"""What a run holds at one moment, while another process may write it: group and journal, in agreement."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from embevo.errors import DamagedError, EmbevoError, NotARunError, UnprovenError
from embevo.run.disk.checksum import Digest, digest
from embevo.run.disk.regular_file import not_regular, read_regular
from embevo.run.format.layout import FORMAT, GROUP_METADATA, Layout
from embevo.run.format.layout_check import layout_of
from embevo.run.format.shards import Shards
from embevo.run.journal.ownership import check_journal
from embevo.run.journal.place import find_ring
from embevo.run.journal.ring import Journal
from embevo.run.manifest.manifest import LONGEST_LINE, Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.chunk_files import REPAIR
from embevo.run.reading.rank_tail import RankTail

if TYPE_CHECKING:
    from embevo.run.reading.reader import Run

# A writer that is at work can invalidate what has just been read; each try takes well under a millisecond.
TRIES: Final = 200


@dataclass(frozen=True)
class Seen:
    """What a run held when it was looked at.

    Attributes:
        layout: of its group.
        sealed_rows: in the group.
        tail: steps of the rows behind those, which are in the ring, or in the runs of processes.
        unproven: steps behind these that are in the ring, and that nothing on this machine proves.
        holder: what has the rows behind the sealed ones; None where nothing can have any.
        journal_elsewhere: where the ring lies that cannot be read here, and may hold steps behind the sealed
            ones; empty if none can be missing.
        ranks_differ: which steps the processes of the training have recorded differently; empty if none.
    """

    layout: Layout
    sealed_rows: int
    tail: Sequence[int]
    unproven: Sequence[int]
    holder: Journal | RankTail | None
    journal_elsewhere: str
    ranks_differ: str


class Following:
    """Looks at a run again and again; what has not changed since is not read anew."""

    def __init__(self, paths: RunPaths, manifest: Manifest, opened: Callable[[str], "Run"]) -> None:
        """Follow the run with this manifest; ``opened`` opens the runs of processes that have recorded it."""
        self._paths = paths
        self._manifest = manifest
        self._opened = opened
        self._journal: Journal | None = None
        self._journal_id = (0, 0)
        self._journal_elsewhere = ""
        self._ranks: RankTail | None = None
        self._layout_id: Digest | None = None
        self._group_layout: Layout
        self._group_rows = 0

    def look(self) -> Seen:
        """What the run holds now.

        Raises:
            DamagedError: metadata, manifest or journal are not what was written.
            UnprovenError: the journal belongs to no run that is known.
        """
        for _ in range(TRIES):
            layout, rows = self._read_group()
            self._open_journal()
            tail: list[int] = []
            unproven: list[int] = []
            damage: EmbevoError | None = None
            try:
                if self._journal is not None:
                    check_journal(self._journal, layout, self._first_attributes())
                    tail, unproven = _tail_steps(self._journal, rows)
                if layout.shards is not None:
                    self._ranks = self._open_ranks(layout, layout.shards)
                    tail = [] if self._ranks is None else self._ranks.steps(rows)
            except (DamagedError, UnprovenError) as error:
                damage = error
            # Rows leave the ring only after they were sealed.
            if self._read_group()[1] == rows:
                if damage is not None:
                    raise damage
                return Seen(
                    layout,
                    rows,
                    tail,
                    unproven,
                    self._journal or self._ranks,
                    self._journal_elsewhere,
                    "" if self._ranks is None else self._ranks.difference,
                )
            time.sleep(0.001)
        raise DamagedError(
            f"{self._paths.root}: the journal and the group's metadata do not agree with each other"
        )

    def _read_group(self) -> tuple[Layout, int]:
        """The layout of the group, and how many rows it has."""
        path = self._paths.trajectory / GROUP_METADATA
        data = read_regular(path, LONGEST_LINE)
        found = digest(data)
        if not self._manifest.knows_metadata(found):
            self._manifest.refresh()
        try:
            group = json.loads(data)
            own = group["attributes"]["embevo"]
            newer = own["format"] > FORMAT
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(f"{path} is not the metadata of a run. {REPAIR}") from error
        if newer:
            raise NotARunError(
                f"{self._paths.root} has run format {own['format']}; this embevo reads up to {FORMAT}. "
                "Update it."
            )
        if not self._manifest.knows_metadata(found):
            raise DamagedError(f"{path} is not what was written, or {self._manifest.path} is not. {REPAIR}")
        if found != self._layout_id:
            self._group_layout, self._layout_id = layout_of(group, path), found
            self._group_rows = int(group["consolidated_metadata"]["metadata"]["step"]["shape"][0])
        return self._group_layout, self._group_rows

    def _first_attributes(self) -> Mapping[str, Any]:
        """The attributes that the run was created with: embevo 0.1 let them change while it recorded."""
        attributes = self._manifest.created.group.get("attributes")
        return attributes if isinstance(attributes, Mapping) else {}

    def _open_journal(self) -> None:
        ring = find_ring(self._paths)
        path = ring.path or self._paths.journal
        self._journal_elsewhere = ring.missing
        try:
            status = path.stat()
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or path.is_symlink():
                raise not_regular(path) from error
            # Closed meanwhile: everything is sealed, or will be seen to be at the next look.
            self._journal, self._journal_id = None, (0, 0)
            return
        if self._journal_id != (status.st_dev, status.st_ino):
            with contextlib.suppress(FileNotFoundError):
                self._journal = Journal(path)
                self._journal_id = (status.st_dev, status.st_ino)

    def _open_ranks(self, layout: Layout, shards: Shards) -> RankTail | None:
        """The rows that only the runs of processes have; None where they have none."""
        if not self._paths.unjoined.exists():
            return None
        ranks = self._ranks or RankTail(self._paths, layout, shards, self._opened)
        ranks.refresh()
        return ranks


def _tail_steps(journal: Journal, rows: int) -> tuple[list[int], list[int]]:
    """The steps that are proven in the ring behind the first rows, and those from the first unproven on."""
    stop = journal.tail(rows)
    proven = takewhile(lambda row: not journal.is_unproven(row), range(rows, stop))
    steps = [journal.step(row) for row in proven]
    return steps, [journal.head(row)[0] for row in range(rows + len(steps), stop)]
