"""Bringing object storage up to what a run has sealed, in an order in which it is a part of the run always.

A block is sent so: its chunks, then the piece of the manifest with its entry, then the metadata of the
arrays, and that of the group last, which is when readers see its rows. Where chunks take the place of others
that readers see (a short last block that became longer, a compaction), the piece goes first: readers then
know both. Where rows were taken back, the group shows fewer before anything else is touched.
"""

from collections.abc import Callable, Mapping
from typing import Final

from embevo.errors import DamagedError, NotARunError, RunExistsError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.pieces import SNAPSHOTS, TOKENS, TOKENS_PENDING, TRAJECTORY, piece_key
from embevo.run.disk.checksum import Digest, digest
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.token_names import MOST_BYTES
from embevo.run.manifest.entry import Annotated, Block, Created, Entry, Rewound
from embevo.run.manifest.manifest import Manifest
from embevo.run.mirroring.claim import Claim, identity_of
from embevo.run.mirroring.sealed_state import SealedState, lines_of, look
from embevo.run.mirroring.sent_state import SentState, sent
from embevo.run.paths import RunPaths, snapshot_name
from embevo.run.reading.recognising import check_is_run

# Looks at a run that is being written, until one of them is not overtaken.
_TRIES: Final = 20

OnRows = Callable[[int, int], None]


class _Overtaken(Exception):  # noqa: N818 - no error: the writer was quicker, and one looks again
    """A file is not, or not any more, what the manifest said when it was looked at."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Pusher:
    """Sends one run to one place.

    Attributes:
        rows: that are shown there; -1 as long as that is not known, or nothing is.
        sent_bytes: that were sent by this one.
    """

    def __init__(self, paths: RunPaths, bucket: Bucket, on_rows: OnRows | None = None) -> None:
        """Of the run at these paths; nothing is asked of the network yet.

        Args:
            paths: of the run.
            bucket: where it goes.
            on_rows: called with the rows that are shown there, and with those that are sealed.

        Raises:
            NotARunError: there is no run.
            DamagedError: its manifest is not what was written.
        """
        check_is_run(paths)
        self.sent_bytes = 0
        self._paths = paths
        self._bucket = bucket
        self._manifest = Manifest(paths.manifest)
        self._on_rows = on_rows or (lambda _shown, _sealed: None)
        self._claim: Claim | None = None
        self._there = SentState()
        # Of what is written anew with every block.
        self._tags: dict[str, str | None] = {}

    @property
    def rows(self) -> int:
        """Rows that are shown there."""
        return self._there.rows

    def push(self) -> int:
        """Send what is sealed now and not there yet; returns the rows that are shown there then.

        Raises:
            RunExistsError: another run is there.
            RunInUseError: another process sends there.
            DamagedError: a file of the run is not what was written.
            StorageError: the storage does not answer, or refuses, and patience has an end.
            OSError: a file of the run cannot be read, or its name there cannot be kept.
        """
        for _ in range(_TRIES):
            try:
                if self._claim is None:
                    self._begin()
                state = look(self._paths, self._manifest)
                self._send(state)
            except _Overtaken as overtaken:
                name = overtaken.name
                continue
            return state.rows
        raise DamagedError(
            f"{self._paths.root / name} is not what was written, and was not sent. Run embevo recover to "
            "rebuild what can be rebuilt, then embevo push."
        )

    def compare(self) -> int:
        """Read what was sent back and compare its checksums; returns how many objects that were.

        Raises:
            DamagedError: one is not what was written; what is to be done is said.
            StorageError: the storage does not answer, or refuses, and patience has an end.
        """
        state = look(self._paths, self._manifest)
        blocks = [block for block in state.blocks if block.stop <= self.rows]
        compared = 0
        entries: list[Created | Block] = [state.created, *blocks]
        for entry in entries:
            for key, written in entry.files.items():
                stored = self._bucket.get(TRAJECTORY + key)
                if stored is None or digest(stored.data) != written:
                    raise DamagedError(
                        f"{self._bucket.url}/{TRAJECTORY}{key} is not what was sent. Delete it there, then "
                        "push again."
                    )
                compared += 1
        return compared

    def _begin(self) -> None:
        run = identity_of(self._paths, make=True)
        if run is None:
            raise NotARunError(f"{self._paths.root} is no run any more")
        claim = Claim(self._bucket, run)
        claim.take()
        self._there = sent(self._bucket, self._manifest)
        self._claim = claim

    def _send(self, state: SealedState) -> None:
        there = self._there
        lines = lines_of(self._manifest, there.end, there.entries)
        self._on_rows(max(there.rows, 0), state.rows)
        self._take_back(state, [entry for _, entry in lines])
        said = self._begin_annotations(lines)
        ends = _ends(lines, there.end)
        if not there.constants:
            for key, written in state.created.files.items():
                self._put(TRAJECTORY + key, self._file(f"trajectory.zarr/{key}", [written]))
            there.constants = True
        if there.rows < 0 or not _only_blocks(lines):
            # Up to the first block, or all of it where some of it changes what was sent.
            self._send_pieces(lines, _end_of_start(lines, there.end) if _only_blocks(lines) else ends[-1])
            self._end_annotations(said)
        if there.rows < 0:
            self._show(state, state.created)
        for block in state.blocks:
            if there.blocks.get(block.number) != block:
                self._send_block(state, block, lines, ends)
            elif there.rows < block.stop:
                self._show(state, block)
        reached = [end for (_, entry), end in zip(lines, ends, strict=True) if _counts(entry, state.rows)]
        self._send_pieces(lines, max(reached, default=there.end))

    def _take_back(self, state: SealedState, entries: list[Entry]) -> None:
        """Have the group there show no row that was dropped since."""
        kept = min((entry.rows for entry in entries if isinstance(entry, Rewound)), default=None)
        if kept is None or kept >= self._there.rows:
            return
        known = [*self._manifest.entries[: self._there.entries]]
        shown: list[Created | Block] = [
            each for each in known if isinstance(each, Created | Block) and each.stop == kept
        ]
        self._show(state, shown[-1])
        self._there.blocks = {
            number: block for number, block in self._there.blocks.items() if block.stop <= kept
        }

    def _send_block(
        self, state: SealedState, block: Block, lines: list[tuple[bytes, Entry]], ends: list[int]
    ) -> None:
        if self._claim is not None:
            self._claim.check()
        end = max(
            (
                end
                for (_, entry), end in zip(lines, ends, strict=True)
                if isinstance(entry, Block) and (entry.number, entry.stop) == (block.number, block.stop)
            ),
            default=self._there.end,
        )
        if block.first < self._there.rows:
            self._send_pieces(lines, end)
        if state.sends_snapshots:
            for row, step in zip(block.rows, block.steps, strict=True):
                name = snapshot_name(step)
                size = state.layout.frame.image_bytes
                written = Digest(size, f"{block.image_checksum(row):016x}")
                self._put(SNAPSHOTS + name, self._file(f"snapshots/{name}", [written]))
        for key, written in block.files.items():
            self._put(TRAJECTORY + key, self._file(f"trajectory.zarr/{key}", [written]))
        self._send_pieces(lines, end)
        if self._there.rows < block.stop:
            self._show(state, block)
        self._there.blocks[block.number] = block
        self._on_rows(self._there.rows, state.rows)

    def _show(self, state: SealedState, entry: Created | Block) -> None:
        """Have the group there show the rows of an entry."""
        files = state.metadata(entry)
        if files is None:
            if entry.stop != state.rows:
                # Only the latest is on the disk; the rows are shown with those of a later block.
                return
            files = {
                key: self._file(f"trajectory.zarr/{key}", [written])
                for key, written in entry.metadata.items()
            }
        shrinks = entry.stop < self._there.rows
        order = sorted(files, key=lambda key: (key == GROUP_METADATA) != shrinks)
        for key in order:
            self._put(TRAJECTORY + key, files[key], keep=True)
        self._there.rows = entry.stop

    def _send_pieces(self, lines: list[tuple[bytes, Entry]], end: int) -> None:
        """Make the piece of the manifest that reaches up to a position, if there is more than was sent."""
        there = self._there
        start = there.end
        if end <= start:
            return
        data, entries, position = b"", 0, self._manifest.end - sum(len(line) for line, _ in lines)
        for line, _ in lines:
            if start <= position < end:
                data += line
                entries += 1
            position += len(line)
        key = piece_key(there.pieces)
        try:
            self._bucket.create(key, data)
        except FileExistsError:
            # Made, and the answer was lost; or made by somebody else.
            stored = self._bucket.get(key)
            if stored is None or stored.data != data:
                if self._claim is not None:
                    self._claim.check()
                raise RunExistsError(
                    f"{self._bucket.url}/{key} is not what this run has next: somebody else has written "
                    "there. Push to another prefix."
                ) from None
        there.pieces += 1
        there.entries += entries
        there.end = end
        self.sent_bytes += len(data)

    def _begin_annotations(self, lines: list[tuple[bytes, Entry]]) -> bytes | None:
        """Have what is said of the tokens lie there before the manifest names it."""
        if not any(isinstance(entry, Annotated) for _, entry in lines):
            return None
        written = self._manifest.annotated
        if written is None:
            return b""
        data = self._file(TOKENS, [written], MOST_BYTES)
        self._put(TOKENS_PENDING, data)
        return data

    def _end_annotations(self, data: bytes | None) -> None:
        if data is None:
            return
        if data:
            self._put(TOKENS, data)
        else:
            self._bucket.delete(TOKENS)
        self._bucket.delete(TOKENS_PENDING)

    def _file(self, name: str, written: list[Digest], longest: int | None = None) -> bytes:
        """A file of the run, which is what was written."""
        try:
            data = read_regular(self._paths.root / name, longest or max(each.length for each in written))
        except (FileNotFoundError, DamagedError):
            raise _Overtaken(name) from None
        if digest(data) not in written:
            raise _Overtaken(name)
        return data

    def _put(self, key: str, data: bytes, *, keep: bool = False) -> None:
        """Have an object be this, but never over what another sender has put there."""
        try:
            if key in self._tags:
                tag = self._bucket.replace(key, data, self._tags[key])
            else:
                tag = self._bucket.create(key, data)
        except FileExistsError:
            tag = self._replace(key, data)
        if keep:
            self._tags[key] = tag
        self.sent_bytes += len(data)

    def _replace(self, key: str, data: bytes) -> str | None:
        for _ in range(_TRIES):
            there = self._bucket.get(key)
            if there is not None and there.data == data:
                # Put, and the answer was lost; or left by a sender that was killed.
                return there.tag
            if self._claim is not None:
                self._claim.check()
            try:
                if there is None:
                    return self._bucket.create(key, data)
                return self._bucket.replace(key, data, there.tag)
            except FileExistsError:
                continue
        raise RunExistsError(f"{self._bucket.url}/{key} is written by somebody else again and again")


def _only_blocks(lines: list[tuple[bytes, Entry]]) -> bool:
    """Whether entries only add rows: blocks behind what was said when the run was made."""
    entries: Mapping[int, Entry] = dict(enumerate(entry for _, entry in lines))
    begun = isinstance(entries.get(0), Created) and isinstance(entries.get(1), Annotated)
    first = 2 if begun else 1 if isinstance(entries.get(0), Created) else 0
    return all(isinstance(entry, Block) for index, entry in entries.items() if index >= first)


def _end_of_start(lines: list[tuple[bytes, Entry]], start: int) -> int:
    """Where the first block's entry begins."""
    end = start
    for line, entry in lines:
        if isinstance(entry, Block):
            break
        end += len(line)
    return end


def _ends(lines: list[tuple[bytes, Entry]], start: int) -> list[int]:
    ends = []
    for line, _ in lines:
        start += len(line)
        ends.append(start)
    return ends


def _counts(entry: Entry, rows: int) -> bool:
    """Whether an entry is sent now, rather than with the block that it announces."""
    return not isinstance(entry, Block) or entry.stop <= rows
