"""Is a file of the run what was written?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from embevo.run.disk.checksum import Digest, file_digest
from embevo.run.format.frame import FrameSpec
from embevo.run.manifest.entry import Block, Created
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths


def difference(path: Path, written: Sequence[Digest]) -> str:
    """How a file differs from each of what it was written as, latest last; empty if it is one of them."""
    actual = file_digest(path, max(digest.length for digest in written))
    if actual is None:
        return "is missing"
    if actual in written:
        return ""
    return f"is not what was written ({actual.length} bytes; {written[-1].length} were written)"


def image_digest(frame: FrameSpec, image_checksum: int) -> Digest:
    """What a snapshot was written as, from the checksum of its image."""
    return Digest(frame.image_bytes, f"{image_checksum:016x}")


def why_damaged(paths: RunPaths, manifest: Manifest, entry: Created | Block, key: str) -> str:
    """What is wrong with a chunk file of an entry; empty if nothing is.

    A short last block that is being replaced by a longer one may be either of the two.
    """
    written = [entry.files[key]]
    if isinstance(entry, Block):
        later = manifest.of_block(entry.number, entry.stop)
        written = [*(other.files[key] for other in later), *written]
    return difference(paths.trajectory / key, written)


def damaged_files(paths: RunPaths, manifest: Manifest, entry: Created | Block) -> Iterator[tuple[str, str]]:
    """The chunk files of an entry that are not what was written, as ``(key, what is wrong)``."""
    for key in entry.files:
        what = why_damaged(paths, manifest, entry, key)
        if what:
            yield key, what
