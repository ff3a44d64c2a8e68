"""Sealing the rows that only the journal has, also when some of them are damaged or missing.

A process that is killed leaves the rows without a gap. A power cut without syncs keeps any subset of the
journal's pages: then the rows that prove themselves move up into the places of those that do not.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError, EmbevoError
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import checksum
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.layout import Layout
from embevo.run.format.steps import describe
from embevo.run.journal.ring import Frame, Journal
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.sealed import SealedRows
from embevo.run.writing.run_writer import refill
from embevo.run.writing.sealing import Sealer


@dataclass(frozen=True)
class _Source:
    """Where a row of the last block or of the tail is: in the ring, or only in its snapshot."""

    row: int
    step: int
    from_snapshot: bool


def seal_tail(
    paths: RunPaths,
    manifest: Manifest,
    layout: Layout,
    journal: Journal,
    sealed: SealedRows,
    *,
    sealed_steps: list[int],
    lost: list[str],
) -> int:
    """Seal what the journal has beyond the sealed rows; returns the number of rows then.

    Args:
        paths: of the run.
        manifest: of the run.
        layout: of the run.
        journal: writable.
        sealed: the rows that are sealed.
        sealed_steps: the steps that are sealed now are added to it.
        lost: what could not be brought back is added to it.
    """
    rows = sealed.count
    first = rows // layout.block_steps * layout.block_steps
    sources, missing = _sources(paths, journal, rows, int(sealed.steps[-1]) if rows else -1)
    if not sources and not missing:
        return rows
    lost += missing
    if not sources:
        return rows
    gone = _refill(journal, sealed, first)
    if gone:
        # The rows of a short last block that are nowhere any more give way to those behind them.
        lost.append(
            f"steps {describe(sealed.steps[gone].tolist())}: neither their block nor the ring has them"
        )
        kept = [row for row in range(first, rows) if row not in gone]
        sources = [_Source(row, int(sealed.steps[row]), from_snapshot=False) for row in kept] + sources
        manifest.append({"kind": "rewound", "rows": first}, sync=True)
        for key, data in layout.metadata(first).items():
            write_file(paths.trajectory / key, data, sync=True)
        rows = first
    sealer = Sealer(paths, layout, manifest, rows=rows, sync=True)
    for row, source in enumerate(sources, rows):
        _move(paths, journal, source, row)
        sealer.snapshot(journal, row)
        sealed_steps.append(source.step)
        if (row + 1) % layout.block_steps == 0:
            sealer.seal(journal, row + 1)
    stop = rows + len(sources)
    if sealer.rows < stop:
        sealer.seal(journal, stop)
    return stop


def _sources(paths: RunPaths, journal: Journal, rows: int, last_step: int) -> tuple[list[_Source], list[str]]:
    """The rows behind the first ``rows`` that can be brought back, in order, and what cannot."""
    found: list[_Source] = []
    wrong: list[tuple[int, str]] = []
    last_row = rows - 1
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
            return _Source(row, head[0], from_snapshot=True), ""
        return None, str(error)
    return (None, "") if frame is None else (_Source(row, frame.step, from_snapshot=False), "")


def _snapshot(paths: RunPaths, journal: Journal, step: int, expected: int) -> NDArray[np.uint8] | None:
    """The snapshot of a step, if it has the checksum that the image had when it was captured."""
    try:
        image = np.frombuffer(read_regular(paths.snapshot(step), journal.frame.image_bytes), np.uint8)
    except (OSError, DamagedError):
        return None
    return image if checksum(image.data) == expected else None


def _move(paths: RunPaths, journal: Journal, source: _Source, row: int) -> None:
    """Have a row in its place in the ring, sealed."""
    if source.from_snapshot:
        head = journal.sealed_head(source.row)
        image = None if head is None else _snapshot(paths, journal, head[0], head[2])
        if head is None or image is None:
            raise DamagedError(f"{journal.path}: row {source.row} has changed while it was recovered")
        journal.put(Frame(row, head[0], head[1], image, head[2]))
    elif source.row != row:
        frame = journal.read(source.row)
        if frame is None:
            raise DamagedError(f"{journal.path}: row {source.row} has changed while it was recovered")
        journal.put(replace(frame, row=row))
    else:
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
    except DamagedError:
        return False
