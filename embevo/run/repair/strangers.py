"""Files that belong to no step of the run: left by an interruption, or dropped by a rewind."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from embevo.run.disk.atomic import PARTIAL
from embevo.run.disk.litter import is_litter, paths_below
from embevo.run.format.layout import Layout, growing
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths, snapshot_steps

_CHUNK: Final = re.compile(r"c\.([0-9]{1,19})(\.[0-9]+){0,3}")


def unfinished_writes(paths: RunPaths) -> Iterator[Path]:
    """What a killed process has left half written, in the run directory itself and in the parts of the run.

    Directories that are not embevo's, and what systems leave everywhere, are not looked into.
    """
    for path in sorted(paths.root.iterdir()):
        if path.name.endswith(PARTIAL) and not is_litter(path.name):
            yield path
    for part in paths.parts:
        if part.is_dir() and not part.is_symlink():
            inside: Path | None = None
            for path in paths_below(part):
                if path.name.endswith(PARTIAL) and (inside is None or not path.is_relative_to(inside)):
                    inside = path
                    yield path


def sweep_strangers(
    paths: RunPaths,
    manifest: Manifest,
    layout: Layout,
    rows: int,
    *,
    waiting: list[int],
    interrupted: bool,
) -> list[str]:
    """Remove the files of steps that a rewind has dropped; after an interruption, all beyond the last row.

    The snapshots of steps that are waiting in the journal stay.
    """
    blocks = [entry for entry in manifest.entries if isinstance(entry, Block)]
    kept = {*waiting, *(step for block in manifest.sealed(rows) for step in block.steps)}
    entered = {step for block in blocks for step in block.steps}
    numbers = None if interrupted else {block.number for block in blocks}
    strangers = [
        *_stray_chunks(paths, layout, rows, numbers),
        *_stray_snapshots(paths, kept, entered, interrupted=interrupted),
    ]
    for path in strangers:
        path.unlink()
    return [path.relative_to(paths.root).as_posix() for path in strangers]


def _stray_chunks(paths: RunPaths, layout: Layout, rows: int, entered: set[int] | None) -> Iterator[Path]:
    """Chunk files of blocks behind the last row; with ``entered``, only of these blocks."""
    blocks = -(-rows // layout.block_steps)
    for name in growing(layout):
        for path in sorted((paths.trajectory / name).glob("c.*")):
            match = _CHUNK.fullmatch(path.name)
            if match and int(match[1]) >= blocks and (entered is None or int(match[1]) in entered):
                yield path


def _stray_snapshots(
    paths: RunPaths, steps: set[int], entered: set[int], *, interrupted: bool
) -> Iterator[Path]:
    """Snapshots of steps that the run does not have: that an entry has had, or that come behind the last."""
    last = max(steps, default=-1)
    for step in snapshot_steps(paths.snapshots):
        if step not in steps and (step in entered or (interrupted and step > last)):
            yield paths.snapshot(step)
