"""recover(): seal what a killed writer has left in the journal, sweep its litter, rebuild what is damaged.

Every step of it can be repeated: a recovery that is itself killed is finished by the next one, with the same
bytes.
"""

import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from embevo.errors import DamagedError, NotARunError, UnprovenError
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import digests, file_digest
from embevo.run.disk.lock import WriterLock
from embevo.run.disk.regular_file import links_among, not_regular, through_link
from embevo.run.format.layout import GROUP_METADATA, Layout
from embevo.run.format.layout_check import layout_of
from embevo.run.format.steps import describe
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.damage import damaged_files, difference, image_digest
from embevo.run.manifest.entry import Block, Rewound
from embevo.run.manifest.fitting import check_blocks
from embevo.run.manifest.manifest import LONGEST_LINE, Manifest
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.annotations import GIVE_AGAIN
from embevo.run.repair.journal_repair import open_for_recovery
from embevo.run.repair.manifest_repair import usable_manifest
from embevo.run.repair.rebuilding import Rebuilder
from embevo.run.repair.strangers import sweep_strangers, unfinished_writes
from embevo.run.repair.tail import Unproven, seal_tail
from embevo.run.writing.annotating import settle_annotations
from embevo.run.writing.replacing import settle


@dataclass
class Recovery:
    """What :func:`recover` has done.

    Attributes:
        path: the run.
        sealed: steps that were in the journal only, and now are in the run.
        removed: unfinished files, and those of steps that a rewind has dropped, which were removed.
        rebuilt: damaged files that were written again with the bytes they had, below the run directory.
        lost: what is damaged and could not be rebuilt, and why.
        unproven: what had no checksum left that could be compared, and was taken as it was found.
        waiting: steps that are still in the journal, from the first on that nothing on this machine proves.
        origin: the machine, and its boot, that can prove them; empty if the journal does not say.
    """

    path: Path
    sealed: list[int] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    origin: str = ""

    @property
    def how_to_go_on(self) -> str:
        """What can be done about the steps that wait, for a message; empty if none does."""
        if not self.waiting:
            return ""
        here = f"embevo recover {shlex.quote(str(self.path))}"
        text = f"{len(self.waiting):,} captured steps ({describe(self.waiting)}) wait in the journal: "
        if self.origin:
            text += (
                f"that they are whole is known only on {self.origin}: there, {here} seals them. If that "
                "machine was started anew since, nothing can prove them any more; then "
            )
        else:
            text += "they have no checksum, and the journal does not say any more where they were captured; "
        return f"{text}{here} --accept-unproven takes them as they are, --discard-unproven gives them up."


def recover(path: PathLike, *, unproven: Unproven = "wait") -> Recovery:
    """Bring a run that was interrupted or damaged into order. It does nothing to a run that is in order.

    Args:
        path: the run directory.
        unproven: what to do with captured rows that nothing on this machine proves. They, and what was
            captured after them, ``wait`` in the journal until ``recover`` is run on the machine that can
            prove them; or ``accept`` them as they are; or ``discard`` them.

    Raises:
        NotARunError: there is no run.
        RunInUseError: its writer is alive.
        DamagedError: the manifest is damaged and cannot be rebuilt from the files, or what lies there is not
            what embevo puts there. Nothing has been removed then.
        OSError: with the path, when the disk is full or not writable; the journal is still there.
    """
    paths = RunPaths(path)
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
    if done.waiting:
        raise UnprovenError(f"{paths.root} cannot be written yet: {done.how_to_go_on}")
    return done


def recover_locked(paths: RunPaths, unproven: Unproven = "wait") -> Recovery:
    """:func:`recover`, for a caller that holds the writer's lock."""
    _refuse_links(paths.parts)
    done = Recovery(paths.root, removed=settle(paths))
    if not has_run(paths):
        raise _not_a_run(paths)
    manifest = usable_manifest(paths, done.rebuilt, done.unproven)
    appender = ManifestAppender(manifest)
    layout = layout_of(manifest.created.group, manifest.path)
    check_blocks(layout, manifest.blocks, manifest.path)
    _refuse_links([paths.trajectory / name for name in layout.arrays])
    interrupted = paths.journal.exists()
    journal, wrong = open_for_recovery(paths, layout) if interrupted else (None, "")
    if wrong:
        done.lost.append(f"journal: {wrong}; steps that it held and that are not named here may be missing")
    wrong = settle_annotations(paths, manifest)
    if wrong:
        done.lost.append(f"{paths.tokens.name} {wrong}. {GIVE_AGAIN}")
    _sweep(paths, done)
    appender.trim()
    try:
        rows = _restore_metadata(paths, manifest, layout, done)
        sealed = Rebuilder(paths, manifest, layout, journal, done.rebuilt, done.lost).rebuild(rows)
        if journal is not None:
            tail = seal_tail(paths, appender, layout, journal, sealed, unproven=unproven)
            rows, done.waiting, done.origin = tail.rows, tail.waiting, journal.origin
            done.sealed += tail.sealed
            done.lost += tail.lost
            done.unproven += tail.unproven
    finally:
        if journal is not None:
            journal.close()
    manifest.refresh()
    dropped = [block for block in manifest.blocks if block.stop > rows]
    if dropped:
        # A power cut has kept the entries of blocks, and not the blocks.
        appender.append(Rewound(rows), sync=True)
        manifest.refresh()
        there = {step for block in manifest.sealed(rows) for step in block.steps}
        named = {step for block in dropped for step in block.steps}
        gone = sorted(named - there - set(done.waiting))
        if gone:
            done.lost.append(
                f"steps {describe(gone)}: the manifest names them, and their files are not there"
            )
    done.removed += sweep_strangers(
        paths, manifest, layout, rows, waiting=done.waiting, interrupted=interrupted
    )
    if interrupted and not done.waiting:
        paths.journal.unlink()
    return done


def has_run(paths: RunPaths) -> bool:
    """Whether there is a run, or one on its way into its place; not one whose creation was cut short."""
    return any(
        path.is_file()
        for root in (paths.root, paths.incoming)
        for path in (root / paths.manifest.name, root / paths.trajectory.name / GROUP_METADATA)
    )


def _not_a_run(paths: RunPaths) -> NotARunError:
    return NotARunError(f"{paths.root} is not a run: it has no manifest and no trajectory.zarr")


def _refuse_links(paths: Iterable[Path]) -> None:
    """Writing below a directory that is a link would write outside of the run."""
    for link in links_among(paths):
        raise DamagedError(through_link(link))


def _sweep(paths: RunPaths, done: Recovery) -> None:
    for path in list(unfinished_writes(paths)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        done.removed.append(path.relative_to(paths.root).as_posix())


def _restore_metadata(paths: RunPaths, manifest: Manifest, layout: Layout, done: Recovery) -> int:
    """Make the metadata that of the rows whose blocks are in place; returns how many rows that is."""
    entries = manifest.live
    group = file_digest(
        paths.trajectory / GROUP_METADATA, max(entry.group_digest.length for entry in entries)
    )
    known = [index for index, entry in enumerate(entries) if entry.group_digest == group]
    if known:
        rows = entries[known[-1]].stop
        # A block whose files are all in place, but whose rows the group does not show yet, is whole. The
        # first entry is of no block, and is not behind a known one.
        for block in manifest.blocks[known[-1] :]:
            if any(damaged_files(paths, manifest, block)):
                break
            done.sealed += block.steps[max(0, rows - block.first) :]
            rows = block.stop
    else:
        # The last block that is there, or can be rebuilt, if there is any; those behind it never came to be.
        whole = [block for block in manifest.blocks if _can_be_had(paths, manifest, layout, block)]
        rows = (whole or entries)[-1].stop
    for key, data in layout.metadata(rows).items():
        actual = file_digest(paths.trajectory / key, LONGEST_LINE)
        if actual != digests({key: data})[key]:
            (paths.trajectory / key).parent.mkdir(parents=True, exist_ok=True)
            write_file(paths.trajectory / key, data, sync=True)
            # Metadata of an array that is ahead after a kill is no damage.
            if actual not in [entry.metadata[key] for entry in entries]:
                done.rebuilt.append(f"trajectory.zarr/{key}")
    return rows


def _can_be_had(paths: RunPaths, manifest: Manifest, layout: Layout, block: Block) -> bool:
    """Whether the files of a block are what was written, or can be made from its snapshots."""
    if not any(damaged_files(paths, manifest, block)):
        return True
    return layout.store == "both" and not any(
        difference(paths.snapshot(step), [image_digest(layout.frame, block.image_checksum(row))])
        for row, step in zip(block.rows, block.steps, strict=True)
    )
