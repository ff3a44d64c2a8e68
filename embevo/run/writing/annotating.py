"""Saying something of the tokens of a run, also long after it was recorded.

The new file is written beside under its partial name, then named by the manifest, then moved into its place.
Whatever a kill leaves, one of the two files is the one that the manifest names last.
"""

import contextlib
from collections.abc import Callable

from embevo.run.disk.atomic import sync_file, write_file
from embevo.run.disk.checksum import Digest, digest, file_digest
from embevo.run.disk.lock import lock_run
from embevo.run.format.token_names import MOST_BYTES, Annotations
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Annotated
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.annotations import read_annotations
from embevo.run.reading.reader import Run


def annotate_run(
    path: PathLike, change: Callable[[Run, Annotations], Annotations], *, clear: bool = False
) -> Annotations:
    """Replace what is said of the tokens of a run that nobody is writing; it may be interrupted.

    Args:
        path: the run.
        change: gets the run and what is said now, and gives what is to be said.
        clear: forget what is said now, which may be damaged.

    Returns:
        What is said now.

    Raises:
        NotARunError: there is no run.
        RunInUseError: another process, or a recorder of this one, is writing it.
        DamagedError: the manifest, or what was said, is not what was written.
        OSError: with the path; what was said is still said.
    """
    # Before a lock is left in a directory that is none of embevo's.
    Run(path)
    paths = RunPaths(path)
    lock = lock_run(paths.lock)
    try:
        run = Run(paths.root)
        manifest = Manifest(paths.manifest)
        appender = ManifestAppender(manifest)
        ids = run.frame.token_ids
        before = Annotations() if clear else read_annotations(paths, manifest, ids)
        after = change(run, before)
        write_annotations(paths, appender, manifest.annotated, after, sync=True)
        return after
    finally:
        lock.release()


def write_annotations(
    paths: RunPaths,
    appender: ManifestAppender,
    entered: Digest | None,
    annotations: Annotations,
    *,
    sync: bool,
) -> None:
    """Have a run say this of its tokens; the caller holds the lock, or the run is still being made.

    Args:
        paths: of the run.
        appender: of its manifest.
        entered: what the manifest says that the file was written as.
        annotations: what is to be said.
        sync: whether it survives a power cut.

    Raises:
        OSError: with the path; what was said is still said.
    """
    if annotations.is_empty:
        if entered is not None:
            appender.append(Annotated(None), sync=sync)
        paths.tokens.unlink(missing_ok=True)
        return
    data = annotations.pack()
    if entered == digest(data) == file_digest(paths.tokens, len(data)):
        return
    write_file(paths.tokens_pending, data, sync=sync)
    try:
        appender.append(Annotated(digest(data)), sync=sync)
    except OSError:
        with contextlib.suppress(OSError):
            paths.tokens_pending.unlink()
        raise
    paths.tokens_pending.replace(paths.tokens)
    if sync:
        sync_file(paths.root)


def settle_annotations(paths: RunPaths, manifest: Manifest) -> str:
    """Finish a replacement that was cut short; the caller holds the lock.

    Returns:
        What is wrong with the file that the manifest names; empty if nothing is.
    """
    entered = manifest.annotated
    if entered is None:
        return ""
    found = file_digest(paths.tokens, MOST_BYTES)
    if found != entered and file_digest(paths.tokens_pending, MOST_BYTES) == entered:
        paths.tokens_pending.replace(paths.tokens)
        sync_file(paths.root)
        return ""
    if found == entered:
        return ""
    return "is missing" if found is None else "is not what was written"
