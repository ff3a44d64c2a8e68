"""recover(): seal what a killed writer has left in the journal, sweep its litter, rebuild what is damaged.

Every step of it can be repeated: a recovery that is itself killed is finished by the next one, with the same
bytes.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from embevo.errors import DamagedError, NotARunError, UnprovenError
from embevo.run.disk.atomic import PARTIAL
from embevo.run.disk.lock import WriterLock
from embevo.run.disk.regular_file import links_among, not_regular, through_link
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.layout_check import layout_of
from embevo.run.format.steps import describe
from embevo.run.journal.orphan import wait_for_orphan
from embevo.run.journal.place import Ring, find_ring, is_interrupted, remove_ring, ring_file
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Rewound
from embevo.run.manifest.fitting import check_blocks
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.annotations import GIVE_AGAIN
from embevo.run.repair.journal_repair import open_for_recovery
from embevo.run.repair.manifest_repair import usable_manifest
from embevo.run.repair.metadata_repair import restore_metadata
from embevo.run.repair.ranks import join_recovered, relink, take_over
from embevo.run.repair.rebuilding import rebuild
from embevo.run.repair.repair import Repair
from embevo.run.repair.report import Recovery, Unproven
from embevo.run.repair.strangers import sweep_strangers, unfinished_writes
from embevo.run.repair.tail import seal_tail
from embevo.run.writing.annotating import settle_annotations
from embevo.run.writing.part_locks import locked_parts, parts_of
from embevo.run.writing.replacing import settle


def recover(path: PathLike, *, unproven: Unproven = "wait") -> Recovery:
    """Bring a run that was interrupted or damaged into order. It does nothing to a run that is in order.

    Args:
        path: the run directory.
        unproven: what to do with captured rows that nothing on this machine proves. They, and what was
            captured after them, ``wait`` in the journal until ``recover`` is run on the machine that can
            prove them; or ``accept`` them as they are; or ``discard`` them. A ring that lies on another
            machine, or is not where it was, waits too, and is given up with ``discard`` only.

    Raises:
        NotARunError: there is no run.
        RunInUseError: its writer is alive.
        DamagedError: the manifest is damaged and cannot be rebuilt from the files, or what lies there is not
            what embevo puts there. Nothing has been removed then.
        OSError: with the path, when the disk is full or not writable; the journal is still there.
    """
    paths = RunPaths(path).whole
    if not has_run(paths):
        raise _not_a_run(paths)
    lock = WriterLock(paths.lock)
    try:
        return recover_locked(paths, unproven)
    except IsADirectoryError as error:
        raise not_regular(Path(error.filename)) from error
    finally:
        lock.release()


def recover_to_write(paths: RunPaths) -> Recovery:
    """:func:`recover`, for a caller that holds the writer's lock and is going to write.

    Raises:
        UnprovenError: rows wait in the journal; they are kept there.
    """
    done = recover_locked(paths)
    if done.waiting or done.elsewhere:
        raise UnprovenError(f"{paths.root} cannot be written yet: {done.how_to_go_on}")
    return done


def recover_locked(paths: RunPaths, unproven: Unproven = "wait") -> Recovery:
    """:func:`recover`, for a caller that holds the writer's lock."""
    wait_for_orphan(ring_file(paths))
    _refuse_links(paths.parts)
    done = Recovery(paths.root, removed=settle(paths))
    if not has_run(paths):
        raise _not_a_run(paths)
    with locked_parts(paths):
        for own in parts_of(paths):
            if has_run(own):
                take_over(done, recover_locked(own, unproven), paths)
        _recover(paths, unproven, done)
    return done


def _recover(paths: RunPaths, unproven: Unproven, done: Recovery) -> None:
    manifest = usable_manifest(paths, done)
    layout = layout_of(manifest.created.group, manifest.path)
    check_blocks(layout, manifest.blocks, manifest.path)
    _refuse_links([paths.trajectory / name for name in layout.arrays])
    has_journal = is_interrupted(paths)
    interrupted = has_journal or paths.unjoined.exists()
    ring = _ring(paths, unproven, done)
    journal, wrong = open_for_recovery(ring, layout) if ring is not None else (None, "")
    if wrong:
        done.lost.append(f"journal: {wrong}; steps that it held and that are not named here may be missing")
    wrong = settle_annotations(paths, manifest)
    if wrong:
        done.lost.append(f"{paths.tokens.name} {wrong}. {GIVE_AGAIN}")
    repair = Repair(paths, layout, manifest, ManifestAppender(manifest), journal, done)
    _sweep(repair)
    repair.appender.trim()
    if layout.shards is not None:
        relink(repair, layout.shards)
    try:
        sealed = rebuild(repair, restore_metadata(repair))
        rows = sealed.count if journal is None else seal_tail(repair, journal, sealed, unproven)
    finally:
        if journal is not None:
            journal.close()
    if not done.elsewhere:
        # The ring may hold the rows of a block that was entered and not sealed. If it never comes back, the
        # files of these steps are all that is left of them.
        _drop_blocks_behind(repair, rows)
        done.removed += sweep_strangers(
            paths, manifest, layout, rows, waiting=done.waiting, interrupted=interrupted
        )
    if has_journal and not (done.waiting or done.elsewhere):
        remove_ring(paths)
    if layout.shards is not None:
        join_recovered(repair, layout.shards)


def _ring(paths: RunPaths, unproven: Unproven, done: Recovery) -> Path | None:
    """The ring, if it can be had here; what is said of one that cannot goes into the report."""
    try:
        ring = find_ring(paths)
        missing = ring.missing
    except DamagedError as error:
        ring, missing = Ring(None, ""), str(error)
    if missing and unproven == "discard":
        done.lost.append(f"{missing}; given up, as was asked for")
    elif missing:
        done.elsewhere = missing
    return ring.path


def _drop_blocks_behind(repair: Repair, rows: int) -> None:
    """Undo the entries of blocks that a power cut has kept, and not the blocks."""
    repair.manifest.refresh()
    dropped = [block for block in repair.manifest.blocks if block.stop > rows]
    if not dropped:
        return
    repair.enter(Rewound(rows))
    there = {step for block in repair.manifest.sealed(rows) for step in block.steps}
    named = {step for block in dropped for step in block.steps}
    gone = sorted(named - there - set(repair.report.waiting))
    if gone:
        repair.report.lost.append(
            f"steps {describe(gone)}: the manifest names them, and their files are not there"
        )


def has_run(paths: RunPaths) -> bool:
    """Whether there is a run, or one on its way into its place; not one whose creation was cut short."""
    return any(
        path.is_file()
        for root in (paths.root, paths.incoming)
        for path in (root / paths.manifest.name, root / paths.trajectory.name / GROUP_METADATA)
    )


def is_on_its_way(paths: RunPaths) -> bool:
    """Whether whoever made a run died while they put it into its place; recovering puts it there."""
    return (paths.incoming / paths.manifest.name).is_file()


def _not_a_run(paths: RunPaths) -> NotARunError:
    return NotARunError(f"{paths.root} is not a run: it has no manifest and no trajectory.zarr")


def _refuse_links(paths: Iterable[Path]) -> None:
    """Writing below a directory that is a link would write outside of the run."""
    for link in links_among(paths):
        raise DamagedError(through_link(link))


def _sweep(repair: Repair) -> None:
    for path in list(unfinished_writes(repair.paths)):
        if path.is_dir() and not path.is_symlink():
            # Whoever analyses the run meanwhile may be writing there, or moving it to its place.
            aside = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
            try:
                path.rename(aside)
            except FileNotFoundError:
                continue
            shutil.rmtree(aside)
        else:
            path.unlink(missing_ok=True)
        repair.report.removed.append(path.relative_to(repair.paths.root).as_posix())
