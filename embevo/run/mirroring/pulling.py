"""pull(): bring a run from object storage onto the disk, whole, each file compared with its checksum."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from embevo.errors import DamagedError, NotARunError, RunExistsError
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.patience import Patience
from embevo.run.cloud.pieces import SNAPSHOTS, TRAJECTORY
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import Digest, digest, file_digest
from embevo.run.disk.litter import is_litter
from embevo.run.disk.lock import WriterLock
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.journal.place import is_interrupted
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.mirroring.claim import WRITER, identity_at, identity_of, keep_identity
from embevo.run.mirroring.pushing import OnRows
from embevo.run.paths import PathLike, RunPaths, snapshot_name
from embevo.run.reading.chunk_files import SEND_AGAIN
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import recover

_LOCKS: Final = "writer.lock"


def pull(url: str, path: PathLike, *, patience: float = 300.0, on_rows: OnRows | None = None) -> Path:
    """Bring the run at a URL into a directory; called again after an interruption, it goes on.

    Args:
        url: of the run, such as ``s3://bucket/prefix``.
        path: the directory: a new or empty one, or one that this was begun in before.
        patience: seconds after which a storage that does not answer is given up.
        on_rows: called with the rows that are here, and with those that are there.

    Returns:
        The run directory, absolute.

    Raises:
        NotARunError: there is no run at the URL.
        RunExistsError: the directory holds something else, or more of the run than is there.
        DamagedError: an object is not what was sent.
        StorageError: the storage does not answer, or refuses.
        OSError: with the path: a file cannot be written.
    """
    paths, bucket = RunPaths(path), Bucket(url, Patience(patience), reads_only=True)
    # Asked first, and with the patience that was asked for.
    claim = bucket.get(WRITER)
    there = Run(bucket.url)
    run = None if claim is None else identity_at(claim)
    if run is None:
        raise NotARunError(f"{bucket.url}/{WRITER} does not say which run it is")
    _check_free(paths, run)
    paths.root.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(paths.lock)
    try:
        _check_behind(paths, there, bucket.url)
        keep_identity(paths, run)
        _bring(bucket, paths, there, on_rows or (lambda _here, _there: None))
    finally:
        lock.release()
    if there.store == "both":
        # Its safetensors files are the same bits as its blocks, and are not sent.
        recover(paths.root)
    return paths.root


def _check_free(paths: RunPaths, run: str) -> None:
    if paths.root.exists() and not paths.root.is_dir():
        raise RunExistsError(f"{paths.root} is a file; a run is a directory. Choose another one.")
    if not paths.root.exists() or identity_of(paths, make=False) == run:
        return
    found = [each.name for each in paths.root.iterdir() if not is_litter(each.name)]
    found = [name for name in found if not name.startswith(_LOCKS)]
    if found:
        raise RunExistsError(
            f"{paths.root} already holds {', '.join(sorted(found)[:5])}. Choose another directory."
        )


def _check_behind(paths: RunPaths, there: Run, url: str) -> None:
    """Raise RunExistsError where a directory holds something of the run that is not at the URL."""
    try:
        here = paths.manifest.read_bytes()
    except FileNotFoundError:
        here = b""
    if is_interrupted(paths) or not (there.path / paths.manifest.name).read_bytes().startswith(here):
        raise RunExistsError(
            f"{paths.root} holds this run as it is not at {url}: with more in it, or damaged. Nothing was "
            "changed. embevo push sends what is here; another directory takes what is there."
        )


def _bring(bucket: Bucket, paths: RunPaths, there: Run, on_rows: OnRows) -> None:
    manifest = Manifest(there.path / "manifest")
    blocks = manifest.sealed(there.sealed_rows)
    layout = there.layout
    for key, written in manifest.created.files.items():
        _file(bucket, paths, TRAJECTORY + key, [written])
    for block in blocks:
        on_rows(block.first, there.sealed_rows)
        for key in block.files:
            _file(bucket, paths, TRAJECTORY + key, [each.files[key] for each in _versions(manifest, block)])
        if layout.store == "safetensors":
            for name, written in _snapshots(layout.frame.image_bytes, block):
                _file(bucket, paths, name, [written])
    if manifest.annotated is not None:
        write_file(paths.tokens, (there.path / paths.tokens.name).read_bytes(), sync=False)
    last = blocks[-1] if blocks else manifest.created
    for key, data in layout.metadata(there.sealed_rows).items():
        if digest(data) != last.metadata[key]:
            raise DamagedError(f"{bucket.url}/{TRAJECTORY}{key} is not what its manifest says")
        if key != GROUP_METADATA:
            write_file(paths.trajectory / key, data, sync=False)
    write_file(paths.manifest, manifest.path.read_bytes(), sync=False)
    group = (there.path / TRAJECTORY / GROUP_METADATA).read_bytes()
    write_file(paths.trajectory / GROUP_METADATA, group, sync=False)
    on_rows(there.sealed_rows, there.sealed_rows)


def _versions(manifest: Manifest, block: Block) -> Sequence[Block]:
    """What a block may be there: a short last one may have become longer since."""
    return [block, *manifest.of_block(block.number, block.stop)]


def _snapshots(size: int, block: Block) -> Iterator[tuple[str, Digest]]:
    for row, step in zip(block.rows, block.steps, strict=True):
        yield SNAPSHOTS + snapshot_name(step), Digest(size, f"{block.image_checksum(row):016x}")


def _file(bucket: Bucket, paths: RunPaths, name: str, written: Sequence[Digest]) -> None:
    """Have a file on the disk that is one of those that were written; one that is, is not brought again."""
    path = paths.root / name
    if file_digest(path, max(each.length for each in written)) in written:
        return
    stored = bucket.get(name)
    if stored is None or digest(stored.data) not in written:
        what = "is missing" if stored is None else "is not what was sent"
        raise DamagedError(
            f"{bucket.url}/{name} {what}. {SEND_AGAIN} If it is being sent just now, pull again."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, stored.data, sync=False)
