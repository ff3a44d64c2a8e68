"""Beginning, or taking up again, a run that several processes record together."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from embevo.errors import ArgumentError, CreationError, DamagedError
from embevo.recording.beginning import Begun, Prepare, Wanted
from embevo.recording.mirrored import check_mirror
from embevo.recording.options import check_schedule
from embevo.recording.sharded import Part
from embevo.run.disk.lock import WriterLock
from embevo.run.format.layout import Layout, block_steps_for
from embevo.run.format.layout_check import layout_of
from embevo.run.format.shards import Shards
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.repair.recovery import has_run
from embevo.run.repair.report import Recovery
from embevo.run.repair.resuming import resume
from embevo.run.repair.resuming_ranks import recover_part, resume_whole
from embevo.run.writing.run_writer import RunWriter, StagedRun
from embevo.run.writing.whole import Whole, create_whole

_T = TypeVar("_T")


def check_shared(*, store: str, when_full: str, tokens: object) -> None:
    """ArgumentError on options that several processes cannot have."""
    if when_full == "drop":
        raise ArgumentError(
            "when_full='drop' would have each process drop other steps, and no step would be whole: of "
            "several processes, when_full is block or error"
        )
    if store == "safetensors":
        raise ArgumentError(
            "several processes record one Zarr group: store is zarr, or both, which keeps a safetensors file "
            "of each process's pieces beside. embevo export-safetensors writes files of whole steps later."
        )
    if tokens is not None:
        raise ArgumentError(
            "tokens= chooses rows of a matrix that is divided among processes, and its chunks follow the "
            "pieces: record all tokens, or a callable that gives the rows in every process"
        )


def begin_together(part: Part, wanted: Wanted, prepare: Prepare) -> Begun:
    """Make the run, or take it up again: every process calls this, and all go on or none does.

    Args:
        part: of this process.
        wanted: what is recorded.
        prepare: called with the layout, the ring and the first row of this process's own run, before it is
            put in its place.

    Raises:
        EmbevoError: of the kind that the first process had that could not go on; it is named.
    """
    part.check_same("run_dir", str(wanted.paths.root))
    part.check_same("what is recorded", wanted.frame.to_json())
    part.check_same("mirror", None if wanted.mirror is None else wanted.mirror.url)
    for what, value in wanted.settings.items():
        part.check_same(what, value)
    shards = part.shards(wanted.frame)
    is_lead = part.rank == shards.lead
    resuming = wanted.resuming
    if resuming is None:
        there = part.everyone(has_run(wanted.paths))
        resuming = bool(next(found for rank, _, found in there if rank == shards.lead))
    if resuming:
        # Rows may be proven on the machine alone that has captured them.
        _attempt(part, lambda: recover_part(wanted.paths.rank(part.rank)))
    opened = _attempt(part, lambda: _open_whole(wanted, shards, resuming=resuming) if is_lead else _NONE)
    writers: list[RunWriter] = []
    try:
        told = part.everyone([opened.keep, opened.id])
        keep, run_id = next(found for rank, _, found in told if rank == shards.lead)
        opened = replace(opened, keep=keep, id=run_id)
        return _attempt(part, lambda: _own(part, wanted, shards, opened, prepare=prepare, writers=writers))
    except BaseException:
        with contextlib.suppress(OSError):
            for writer in writers:
                writer.close(complete=True)
        if opened.lock is not None and not writers:
            opened.lock.release()
        raise


def _attempt(part: Part, work: Callable[[], _T]) -> _T:
    """Do something that every process has to succeed in."""
    error: BaseException | None = None
    try:
        done = work()
    except Exception as failed:  # noqa: BLE001 - raised again when all others know of it
        error = failed
    part.agree(error)
    return done


@dataclass(frozen=True)
class _Opened:
    """The whole run: the last step that is kept, and its ID; in the process that joins it, its lock too."""

    lock: WriterLock | None = None
    recovery: Recovery | None = None
    keep: int = -1
    id: str = ""


_NONE: Final = _Opened()


def _open_whole(wanted: Wanted, shards: Shards, *, resuming: bool) -> _Opened:
    check_mirror(wanted.mirror, wanted.paths, resumed=resuming)
    if resuming:
        lock, recovery, keep = resume_whole(
            wanted.paths,
            wanted.frame,
            shards,
            annotations=wanted.annotations,
            rewind_to=wanted.rewind_to,
            sync=wanted.sync,
        )
        return _Opened(lock, recovery, keep, _layout_at(wanted.paths).id)
    layout = Layout.new(
        wanted.frame,
        block_steps=wanted.block_steps or _block_steps(wanted, shards),
        store="zarr",
        zarr_dtype=wanted.zarr_dtype,
        has_token_count=wanted.token_count is not None,
        attributes=wanted.attributes,
        schedule=wanted.schedule,
        shards=shards,
    )
    lock = create_whole(
        wanted.paths,
        layout,
        token_count=wanted.token_count,
        annotations=wanted.annotations,
        overwrite=wanted.overwrite,
        sync=wanted.sync,
    )
    return _Opened(lock, id=layout.id)


def _layout_at(paths: RunPaths) -> Layout:
    return layout_of(Manifest(paths.manifest).created.group, paths.manifest)


def _block_steps(wanted: Wanted, shards: Shards) -> int:
    """S for the process that has most to record."""
    return min(block_steps_for(shards.frame(rank, wanted.frame), wanted.zarr_dtype) for rank in shards.ranks)


def _own(
    part: Part,
    wanted: Wanted,
    shards: Shards,
    opened: _Opened,
    *,
    prepare: Prepare,
    writers: list[RunWriter],
) -> Begun:
    """Make this process's own run, or take it up again where the whole run ends."""
    keep = opened.keep
    whole = _layout_at(wanted.paths) if wanted.paths.manifest.exists() else None
    if whole is None or whole.id != opened.id:
        there = "is not there" if whole is None else "is another run"
        raise CreationError(
            f"{wanted.paths.root} {there} on {part.host}: record where every process sees the same directory"
        )
    if part.rank not in shards.ranks:
        return Begun(None)
    own = wanted.paths.rank(part.rank)
    frame = shards.frame(part.rank, wanted.frame)
    recorded = None
    if has_run(own):
        check_schedule(wanted.schedule, whole.schedule)
        resumed = resume(own, frame, rewind_to=keep, sync=wanted.sync, journal_dir=wanted.journal_dir)
        recorded, writer = resumed.run, resumed.writer
        try:
            _check_end(own, int(recorded.steps[-1]) if len(recorded.steps) else -1, keep)
            prepare(writer.layout, writer.journal, writer.sealer.rows)
        except BaseException:
            writer.close(complete=True)
            raise
    else:
        _check_end(own, -1, keep)
        layout = Layout.new(
            frame,
            block_steps=whole.block_steps,
            store=wanted.store,
            zarr_dtype=whole.attributes["embevo"]["zarr_dtype"],
            has_token_count=False,
            attributes={},
            schedule=whole.schedule,
            part={
                "rank": part.rank,
                "host": part.host,
                "of": whole.id,
                "cells": {
                    name: list(shards.cell(name, wanted.frame.by_name[name].shape)) for name in frame.by_name
                },
            },
        )
        staged = StagedRun(
            own, layout, slots=2 * layout.block_steps, sync=wanted.sync, journal_dir=wanted.journal_dir
        )
        try:
            prepare(layout, staged.journal, 0)
            writer = staged.publish()
        except BaseException:
            staged.abandon()
            raise
    joined = Whole(wanted.paths, whole, shards, lock=opened.lock, sync=wanted.sync)
    writer.sealer.sinks.append(joined)
    writer.after = joined.leave
    writers.append(writer)
    return Begun(writer, recorded, opened.recovery, joined)


def _check_end(own: RunPaths, last: int, keep: int) -> None:
    """Raise DamagedError unless this process's own run ends where the whole one does."""
    if last == keep:
        return
    if last < 0:
        raise DamagedError(
            f"{own.root} is not there or holds no step, and the whole run has steps up to {keep}: what is "
            "recorded from now on would not fit behind them. Put it back, or record into a new run."
        )
    raise DamagedError(
        f"{own.root} ends with step {last}, and the whole run has steps up to {keep}: what is recorded from "
        f"now on would not fit behind them. Resume with rewind_to={last}, from where all have everything."
    )
