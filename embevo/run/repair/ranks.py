"""Recovering, resuming and verifying the runs of the processes below a whole run."""

import shlex

from embevo.errors import ArgumentError, RecordingError
from embevo.run.disk.atomic import sync_file
from embevo.run.disk.checksum import file_digest
from embevo.run.format.shards import Shards
from embevo.run.manifest.damage import damaged_files
from embevo.run.paths import RunPaths
from embevo.run.repair.repair import Repair
from embevo.run.repair.report import Recovery
from embevo.run.writing.joining import Joiner, files_of_part, move_up, put_beside
from embevo.run.writing.part_locks import parts_of


def refuse_pieces(paths: RunPaths, what: str) -> None:
    """ArgumentError for a run whose files belong to those of several processes: it cannot be so treated."""
    parts = parts_of(paths)
    if parts:
        raise ArgumentError(
            f"{paths.root} was recorded by {len(parts)} processes, and shares its files with the piece of "
            f"each in {paths.ranks}: it cannot be {what}. Make it a run of one piece first: embevo merge "
            f"{shlex.quote(str(paths.root))} --out RUN"
        )


def take_over(done: Recovery, own: Recovery, paths: RunPaths) -> None:
    """Add what was done to the run of a process to what was done to the whole."""
    below = own.path.relative_to(paths.root).as_posix()
    done.removed += [f"{below}/{name}" for name in own.removed]
    done.rebuilt += [f"{below}/{name}" for name in own.rebuilt]
    done.lost += [f"{below}/{what}" for what in own.lost]
    done.unproven += [f"{below}: {what}" for what in own.unproven]
    if own.waiting:
        done.waiting = sorted({*done.waiting, *own.waiting})
        done.origin = own.origin
    done.elsewhere = done.elsewhere or own.elsewhere


def relink(repair: Repair, shards: Shards) -> None:
    """Put files of processes into the places of those of the whole that are damaged or missing."""
    joiner = Joiner(repair.paths, repair.layout, shards, sync=True)
    for part in joiner.parts:
        part.look()
    for block in repair.manifest.blocks:
        bad = dict(damaged_files(repair.paths, repair.manifest, block))
        for part in joiner.parts if bad else []:
            own = part.block(block.number, block.stop)
            for key, linked in (
                {} if own is None else files_of_part(repair.layout, shards, part, own)
            ).items():
                if key in bad and file_digest(linked.source, linked.digest.length) == block.files[key]:
                    path = repair.paths.trajectory / key
                    put_beside(path, linked, sync=True)
                    move_up(path)
                    sync_file(path.parent)
                    repair.report.rebuilt.append(f"{repair.paths.trajectory.name}/{key}")


def join_recovered(repair: Repair, shards: Shards) -> None:
    """Join what all processes have, once the run of each is in order, and say who was ahead."""
    paths, manifest, done = repair.paths, repair.manifest, repair.report
    manifest.refresh()
    joiner = Joiner(paths, repair.layout, shards, sync=True)
    before = joiner.rows
    try:
        joiner.join()
    except RecordingError as error:
        done.lost.append(f"{paths.ranks.name}: {error}")
    manifest.refresh()
    steps = [step for block in manifest.sealed(joiner.rows) for step in block.steps]
    done.sealed += steps[before:]
    done.ahead = joiner.ahead()
    missing = joiner.missing()
    if missing and any(part.rows > joiner.rows for part in joiner.parts):
        done.lost.append(
            f"{paths.ranks.name}: {', '.join(missing)} has no run: what it had recorded is not here"
        )
    if not (done.waiting or done.elsewhere):
        paths.unjoined.unlink(missing_ok=True)
