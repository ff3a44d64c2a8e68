"""What of a run is in object storage already: how much of its manifest, and which blocks."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embevo.errors import RunExistsError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.pieces import TRAJECTORY, read_pieces
from embevo.run.disk.checksum import digest
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.manifest.entry import Block, Compacted, Files
from embevo.run.manifest.manifest import Manifest


@dataclass
class SentState:
    """What is there.

    Attributes:
        pieces: of the manifest.
        end: bytes of the manifest in them.
        entries: of the manifest in them.
        rows: that the group shows there; -1 while there is no group.
        blocks: whose files are there, by number, as they were sent.
        constants: whether the files of the arrays that do not grow are there.
    """

    pieces: int = 0
    end: int = 0
    entries: int = 0
    rows: int = -1
    blocks: dict[int, Block] = field(default_factory=dict)
    constants: bool = False


def sent(bucket: Bucket, manifest: Manifest) -> SentState:
    """What is there of the run with this manifest.

    A block of which it is not certain that every file of it is there counts as one that is not.

    Raises:
        RunExistsError: what is there is of another run.
        StorageError: the storage does not answer, or refuses.
    """
    pieces = read_pieces(bucket)
    if not pieces:
        return SentState()
    whole = b"".join(pieces)
    with manifest.path.open("rb") as file:
        if file.read(len(whole)) != whole:
            raise _another(bucket)
    found = SentState(len(pieces), len(whole))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "manifest"
        path.write_bytes(whole)
        there = Manifest(path)
    found.entries = len(there.entries)
    group = bucket.get(TRAJECTORY + GROUP_METADATA)
    if group is None:
        return found
    written = digest(group.data)
    entry = next((each for each in reversed(there.live) if each.group_digest == written), None)
    if entry is None:
        raise _another(bucket)
    found.rows = entry.stop
    sizes = bucket.sizes(TRAJECTORY)
    found.constants = _has(sizes, there.created.files)
    # A piece goes before the files of its blocks where these take the place of others.
    last = there.entries[-pieces[-1].count(b"\n") :]
    doubtful = {each.number for each in last if isinstance(each, Block | Compacted)}
    found.blocks = {
        block.number: block
        for block in there.sealed(found.rows)
        if _has(sizes, block.files) and (block.number not in doubtful or _holds(bucket, block.files))
    }
    return found


def _has(sizes: Mapping[str, int], files: Files) -> bool:
    return all(sizes.get(TRAJECTORY + key) == written.length for key, written in files.items())


def _holds(bucket: Bucket, files: Files) -> bool:
    """Whether files are what was written, by their checksums; one at a time is held."""
    for key, written in files.items():
        stored = bucket.get(TRAJECTORY + key)
        if stored is None or digest(stored.data) != written:
            return False
    return True


def _another(bucket: Bucket) -> RunExistsError:
    return RunExistsError(
        f"{bucket.url} holds what this run does not begin with: another run, or this one before its manifest "
        "was rebuilt. Choose another prefix, or delete what is there."
    )
