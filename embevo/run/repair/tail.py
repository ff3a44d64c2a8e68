"""Sealing the rows that only the journal has, also when some of them are damaged or missing.

A process that is killed leaves the rows without a gap. A power cut without syncs keeps any subset of the
journal's pages: then the rows that prove themselves move up into the places of those that do not.

A large row is sealed by the writer thread, a moment after it was captured. Without its seal, that it is whole
is known only on the machine that captured it, and only until that is started anew. Elsewhere nothing tells
such a row from a torn one: so it waits in the journal until somebody can tell, or decides.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError, EmbevoError, UnprovenError
from embevo.run.format.steps import describe
from embevo.run.journal.ring import Frame, Journal
from embevo.run.manifest.entry import Rewound
from embevo.run.paths import RunPaths
from embevo.run.reading.sealed import SealedRows
from embevo.run.reading.snapshots import read_snapshot
from embevo.run.repair.repair import Repair
from embevo.run.repair.report import Recovery, Unproven
from embevo.run.writing.run_writer import refill
from embevo.run.writing.sealing import Sealer


@dataclass(frozen=True)
class _Source:
    """The place that a row of the last block or the tail is read from: the ring, or its snapshot."""

    row: int
    step: int
    kind: Literal["ring", "snapshot", "unproven"] = "ring"


def seal_tail(repair: Repair, journal: Journal, sealed: SealedRows, unproven: Unproven) -> int:
    """Seal what the journal has beyond the sealed rows; returns the number of rows then.

    Args:
        repair: of the run.
        journal: of the run.
        sealed: the rows that are sealed.
        unproven: what to do with the rows that nothing on this machine proves: have them, and those behind
            them, ``wait`` in the journal; ``accept`` them as they are; or ``discard`` them.
    """
    paths, layout, done = repair.paths, repair.layout, repair.report
    rows = sealed.count
    first = rows // layout.block_steps * layout.block_steps
    found, missing = _sources(paths, journal, rows, sealed.steps.tolist())
    done.lost += missing
    sources, waiting = _chosen(found, unproven, journal, done)
    if sources:
        gone = _refill(journal, sealed, first)
        if gone:
            # The rows of a short last block that are nowhere any more give way to those behind them.
            done.lost.append(
                f"steps {describe(sealed.steps[gone].tolist())}: neither their block nor the ring has them"
            )
            kept = [row for row in range(first, rows) if row not in gone]
            sources = [_Source(row, int(sealed.steps[row])) for row in kept] + sources
            repair.enter(Rewound(first))
            for key, data in layout.metadata(first).items():
                repair.write(f"{paths.trajectory.name}/{key}", data)
            rows = first
    sealer = Sealer(paths, layout, repair.appender, rows=rows, sync=True)
    stop = rows + len(sources)
    for row, source in enumerate(sources, rows):
        _move(paths, journal, source, row, seal=True)
        sealer.snapshot(journal, row)
        done.sealed.append(source.step)
        if (row + 1) % layout.block_steps == 0:
            sealer.seal(journal, row + 1)
    if sealer.rows < stop:
        sealer.seal(journal, stop)
    if waiting:
        _leave(paths, journal, waiting, range(stop, sealed.count + journal.slots))
    done.waiting, done.origin = [source.step for source in waiting], journal.origin
    return stop


def _chosen(
    found: list[_Source], unproven: Unproven, journal: Journal, done: Recovery
) -> tuple[list[_Source], list[_Source]]:
    """The rows to be sealed, and those that wait."""
    doubtful = [source.step for source in found if source.kind == "unproven"]
    if not doubtful:
        return found, []
    where = journal.origin or "no one knows which machine"
    text = f"steps {describe(doubtful)}: they had no checksum yet when their writer on {where} ended"
    if unproven == "accept":
        done.unproven.append(f"{text}; sealed as they were found")
        return found, []
    if unproven == "discard":
        done.lost.append(f"{text}; given up, as was asked for")
        return [source for source in found if source.kind != "unproven"], []
    cut = next(index for index, source in enumerate(found) if source.kind == "unproven")
    return found[:cut], found[cut:]


def _leave(paths: RunPaths, journal: Journal, waiting: list[_Source], rows: range) -> None:
    """Have the rows that wait in the places behind the last sealed row, and nothing behind them."""
    for row, source in zip(rows, waiting, strict=False):
        _move(paths, journal, source, row, seal=source.kind != "unproven")
    for row in rows[len(waiting) :]:
        if journal.claims(row):
            journal.begin(row)
    # Synced, as everything is that recovering writes.
    journal.sync()


def _sources(
    paths: RunPaths, journal: Journal, rows: int, steps: list[int]
) -> tuple[list[_Source], list[str]]:
    """The rows behind the first ``rows`` that can be brought back, in order, and what cannot."""
    found: list[_Source] = []
    wrong: list[tuple[int, str]] = []
    last_row = rows - 1
    last_step = steps[-1] if steps else -1
    for row in range(rows, rows + journal.slots):
        source, damage = _look(paths, journal, row)
        if damage:
            wrong.append((row, damage))
            last_row = row
        if source is None:
            continue
        # A recovery that was cut short while it moved rows up has left some of them twice.
        if source.step > last_step:
            wrong += [(gap, f"row {gap} is not there") for gap in range(last_row + 1, row)]
            found.append(source)
            last_step = source.step
        elif source.kind == "unproven" and source.step not in {*steps, *(other.step for other in found)}:
            wrong.append((row, f"row {row} has the step {source.step}, which is not after the one before"))
        last_row = row
    return found, [f"journal: {what} (after step {_before(found, row)})" for row, what in sorted(wrong)]


def _before(found: list[_Source], row: int) -> str:
    before = [source.step for source in found if source.row < row]
    return str(before[-1]) if before else "the last one sealed"


def _look(paths: RunPaths, journal: Journal, row: int) -> tuple[_Source | None, str]:
    try:
        frame = journal.read(row)
    except DamagedError as error:
        head = journal.sealed_head(row)
        if head is not None and _snapshot(paths, journal, head[0], head[2]) is not None:
            return _Source(row, head[0], "snapshot"), ""
        return None, str(error)
    except UnprovenError:
        return _Source(row, journal.head(row)[0], "unproven"), ""
    return (None, "") if frame is None else (_Source(row, frame.step), "")


def _snapshot(paths: RunPaths, journal: Journal, step: int, expected: int) -> NDArray[np.uint8] | None:
    """The snapshot of a step, if it has the checksum that the image had when it was captured."""
    try:
        return read_snapshot(paths.snapshot(step), journal.frame, expected)
    except (OSError, DamagedError):
        return None


def _move(paths: RunPaths, journal: Journal, source: _Source, row: int, *, seal: bool) -> None:
    """Have a row in its place in the ring; what is proven is sealed there, and the rest if that is wanted."""
    if source.kind == "snapshot":
        head = journal.sealed_head(source.row)
        image = None if head is None else _snapshot(paths, journal, head[0], head[2])
        if head is None or image is None:
            raise DamagedError(f"{journal.path}: row {source.row} has changed while it was recovered")
        journal.put(Frame(row, head[0], head[1], image, head[2]))
    elif source.row != row:
        frame = journal.read(source.row, unproven=source.kind == "unproven")
        if frame is None:
            raise DamagedError(f"{journal.path}: row {source.row} has changed while it was recovered")
        journal.put(replace(frame, row=row), seal=seal)
    elif seal:
        journal.seal(row)


def _refill(journal: Journal, sealed: SealedRows, first: int) -> list[int]:
    """Put the rows of the short last block that the ring does not hold back into it; returns those lost."""
    wanted = [row for row in range(first, sealed.count) if not _whole(journal, row)]
    if not wanted:
        return []
    try:
        refill(journal, sealed, wanted)
    except EmbevoError:
        return [row for row in wanted if not _whole(journal, row)]
    return []


def _whole(journal: Journal, row: int) -> bool:
    try:
        return journal.read(row) is not None
    except (DamagedError, UnprovenError):
        return False
