"""Rebuilding a manifest that is damaged in the middle, from its sound lines and from files that prove it.

A line is proved by its digits, which are the checksum of its text seeded with that of the line before; so
one damaged line does not make those behind it worthless. What a lost line said of a block is worked out again
from the block's files: every chunk carries a CRC-32C, which proves its bytes. That it is the chunk of this
block and not of another is proved by the snapshots, where there are any.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.disk.atomic import write_file
from embevo.run.disk.checksum import checksum, digest, digests, file_digest
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.layout import GROUP_METADATA, Layout, files_of_block, growing
from embevo.run.format.layout_check import layout_of
from embevo.run.format.steps import describe
from embevo.run.format.token_names import MOST_BYTES, Annotations
from embevo.run.manifest.appender import packed
from embevo.run.manifest.damage import difference
from embevo.run.manifest.entry import Annotated, Block, Compacted, Created, Entry
from embevo.run.manifest.manifest import LONGEST_LINE, Manifest
from embevo.run.manifest.parsing import parse_entry
from embevo.run.paths import RunPaths, snapshot_steps
from embevo.run.repair.block_decoding import decode_array
from embevo.run.repair.report import Recovery
from embevo.run.writing.joining import checksums_of_parts

_SUFFIX = 17
_MOST_BYTES = 1 << 30


def usable_manifest(paths: RunPaths, report: Recovery) -> Manifest:
    """The run's manifest; if it is damaged, or does not know the group's metadata, rebuilt where possible.

    Args:
        paths: of the run.
        report: says so if it was rebuilt, and what was entered although nothing proves it.

    Raises:
        NotARunError: the run was never complete.
        DamagedError: the manifest is damaged, and the files do not prove what it said.
    """
    damage: Exception | None = None
    try:
        manifest = Manifest(paths.manifest)
    except (DamagedError, FileNotFoundError) as error:
        damage = error
    else:
        group = file_digest(paths.trajectory / GROUP_METADATA, LONGEST_LINE)
        # Of a rewind that was cut short, the metadata is that of an entry that does not count any more.
        entered = [entry.group_digest for entry in manifest.entries if isinstance(entry, Created | Block)]
        if group in entered:
            return _with_last_line(paths, manifest, report)
    notes: list[str] = []
    try:
        entries = _rebuilt(paths, _sound_lines(paths.manifest), notes)
    except (EmbevoError, OSError) as error:
        if damage is not None:
            raise DamagedError(f"{damage} It cannot be rebuilt: {error}") from error
        if manifest.entries:
            return manifest
        raise NotARunError(
            f"{paths.root} is not a run: its creation was interrupted before anything was captured. "
            "Delete it, or record over it with overwrite."
        ) from error
    write_file(paths.manifest, packed(entries), sync=True)
    report.rebuilt.append(paths.manifest.name)
    report.unproven += notes
    return Manifest(paths.manifest)


def _with_last_line(paths: RunPaths, manifest: Manifest, report: Recovery) -> Manifest:
    """The manifest; with its last line, where that is of a compaction and only its newline was damaged.

    No metadata tells that this line is missing, as that of the group tells of a block.
    """
    if not manifest.torn:
        return manifest
    data = read_regular(paths.manifest, _MOST_BYTES)
    for line in (data[manifest.end :], data[manifest.end : -1]):
        text, digits = line[:-_SUFFIX], line[-_SUFFIX:]
        if text.startswith(b'{"kind":"compacted"') and digits == b" %016x" % checksum(
            text, manifest.checksum
        ):
            write_file(paths.manifest, data[: manifest.end] + line + b"\n", sync=True)
            report.rebuilt.append(paths.manifest.name)
            return Manifest(paths.manifest)
    return manifest


def _sound_lines(path: Path) -> list[Entry]:
    """The entries whose lines are what was written, in order."""
    found: list[Entry] = []
    # What the checksum of the line before may be: its digits, or what its text gives.
    seeds = {0}
    doubtful: tuple[bytes, int] | None = None
    lines = read_regular(path, _MOST_BYTES).split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines):
        text, digits = line[:-_SUFFIX], line[-_SUFFIX:]
        value = next((v for v in (checksum(text, seed) for seed in seeds) if digits == b" %016x" % v), None)
        if value is not None:
            if doubtful is not None and checksum(text, doubtful[1]) == value:
                # Only the digits of the line before were damaged: this line proves its text.
                found += _parsed(doubtful[0], first=number == 1)
            found += _parsed(text, first=number == 0)
            seeds, doubtful = {value}, None
            continue
        computed = [checksum(text, seed) for seed in seeds]
        doubtful = (text, computed[0]) if len(computed) == 1 else None
        seeds = set(computed)
        if len(digits) == _SUFFIX:
            try:
                seeds.add(int(digits, 16))
            except ValueError:
                continue
    return found


def _parsed(text: bytes, *, first: bool) -> Iterator[Entry]:
    try:
        yield parse_entry(text, first=first)
    except (ValueError, RecursionError):
        return


def _rebuilt(paths: RunPaths, known: list[Entry], notes: list[str]) -> list[Entry]:
    """The entries of a manifest for the rows that the group has."""
    data = read_regular(paths.trajectory / GROUP_METADATA, LONGEST_LINE)
    created = known[0] if known and isinstance(known[0], Created) else None
    layout, rows = _described(paths, data, created)
    if created is None:
        created = _created(paths, layout)
        if not any(
            entry.group_digest == digest(data) for entry in known if isinstance(entry, Created | Block)
        ):
            notes.append("the attributes of the group: nothing says any more what they were")
    entries: list[Entry] = [created]
    last_step = -1
    blocks = _blocks(known)
    for number in range(-(-rows // layout.block_steps)):
        stop = min(rows, (number + 1) * layout.block_steps)
        fitting = [block for block in blocks if block.number == number and block.stop == stop]
        # Where a rewind has undone an entry, the one for the files that are there now.
        whole = [block for block in fitting if _matches(paths, block)]
        chosen = whole[-1:] or _of_compaction(paths, layout, fitting)
        chosen = chosen or [_block(paths, layout, number, stop, notes)]
        entry = chosen[-1]
        if entry.ranges[0][0] <= last_step:
            raise DamagedError(f"the steps of block {number} do not follow those of the block before")
        last_step = entry.ranges[-1][1]
        entries += chosen
    return [*entries, *_annotated(paths, layout, known, notes)]


def _annotated(paths: RunPaths, layout: Layout, known: list[Entry], notes: list[str]) -> list[Annotated]:
    """The entry of what is said of the tokens: the last that is sound, unless only the file is left of it."""
    entries = [entry for entry in known if isinstance(entry, Annotated)]
    found = file_digest(paths.tokens, MOST_BYTES)
    if found is None or found in [entry.file for entry in entries]:
        return entries[-1:]
    try:
        Annotations.parse(read_regular(paths.tokens, MOST_BYTES), layout.frame.token_ids)
    except (*MALFORMED, DamagedError):
        return entries[-1:]
    notes.append(f"{paths.tokens.name}: its checksum was in the damaged line")
    return [Annotated(found)]


def _blocks(known: list[Entry]) -> list[Block]:
    """The entries of blocks, and what those of compactions have made of them."""
    blocks: list[Block] = []
    for entry in known:
        if isinstance(entry, Block):
            blocks.append(entry)
        elif isinstance(entry, Compacted):
            same = [block for block in blocks if (block.number, block.stop) == (entry.number, entry.stop)]
            blocks += [same[-1].with_files(entry)] if same else []
    return blocks


def _of_compaction(paths: RunPaths, layout: Layout, fitting: list[Block]) -> list[Block]:
    """Entries of a block none of which has all of its files: one was lost, or a compaction was cut short."""
    if fitting:
        # The files of a compaction whose entry is lost hold what the checksums of the images say.
        with contextlib.suppress(EmbevoError, OSError):
            found = _block(paths, layout, fitting[-1].number, fitting[-1].stop, [])
            if (found.images, found.ranges) == (fitting[-1].images, fitting[-1].ranges):
                return [replace(found, compacted=True)]
    return fitting[-2:] if fitting and fitting[-1].compacted else fitting[-1:]


def _matches(paths: RunPaths, block: Block) -> bool:
    return not any(difference(paths.trajectory / key, [written]) for key, written in block.files.items())


def _described(paths: RunPaths, data: bytes, created: Created | None) -> tuple[Layout, int]:
    """The layout and the number of rows, if the group's metadata is what embevo writes for them."""
    path = paths.trajectory / GROUP_METADATA
    try:
        group = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged, too") from error
    layout = layout_of(group, path)
    rows = int(group["consolidated_metadata"]["metadata"]["step"]["shape"][0])
    if created is not None:
        layout = layout_of(created.group, paths.manifest)
    written = layout.metadata(rows)
    # The metadata of every array is there twice: a bit that is flipped in one of the two is not in the other.
    for key in written if created is None else [GROUP_METADATA]:
        if read_regular(paths.trajectory / key, LONGEST_LINE) != written[key]:
            raise DamagedError(f"{paths.trajectory / key} is damaged, too")
    return layout, rows


def _created(paths: RunPaths, layout: Layout) -> Created:
    files = {}
    for name in layout.arrays:
        if name not in growing(layout):
            key = f"{name}/c.0"
            files[key] = read_regular(paths.trajectory / key, 8 * layout.frame.token_count + _MOST_BYTES)
            values = decode_array(layout, name, slice(0, 0), files)
            if name == "token" and not np.array_equal(values, layout.frame.token_ids):
                raise DamagedError(f"{paths.trajectory / key} is damaged, too")
    metadata = layout.metadata(0)
    return Created(digests(files), digests(metadata), json.loads(metadata[GROUP_METADATA]))


def _block(paths: RunPaths, layout: Layout, block: int, stop: int, notes: list[str]) -> Block:
    """The entry of a block, from its files."""
    start = block * layout.block_steps
    rows = slice(start, stop)
    files = {key: read_regular(paths.trajectory / key, _MOST_BYTES) for key in files_of_block(layout, block)}
    steps = [int(step) for step in decode_array(layout, "step", rows, files)]
    if min(np.diff(steps, prepend=-1)) <= 0:
        raise DamagedError(f"the steps of block {block} do not ascend")
    for name in layout.frame.scalars:
        decode_array(layout, name, rows, files)
    if layout.store == "safetensors":
        images = [read_regular(paths.snapshot(step), layout.frame.image_bytes) for step in steps]
        if any(
            len(image) != layout.frame.image_bytes or not image.startswith(layout.frame.header)
            for image in images
        ):
            raise DamagedError(f"the snapshots of block {block} are not those of the run")
        notes.append(f"the snapshots of steps {describe(steps)}: their checksums were in the damaged line")
        checksums = [checksum(image) for image in images]
    else:
        values = {name: decode_array(layout, name, rows, files) for name in layout.matrices}
        checksums = [
            layout.image_checksum(layout.frame.image({name: v[row] for name, v in values.items()}))
            for row in range(stop - start)
        ]
        if layout.shards is None or checksums != checksums_of_parts(
            paths, layout, layout.shards, block, stop
        ):
            _compare_with_snapshots(paths, block, dict(zip(steps, checksums, strict=True)), notes)
    return Block.of(
        block,
        start,
        steps,
        files=digests(files),
        metadata=digests(layout.metadata(stop)),
        images=checksums,
    )


def _compare_with_snapshots(paths: RunPaths, block: int, checksums: dict[int, int], notes: list[str]) -> None:
    there = set(snapshot_steps(paths.snapshots)) & checksums.keys()
    equal = [
        step for step in there if checksum(read_regular(paths.snapshot(step), _MOST_BYTES)) == checksums[step]
    ]
    if there and not equal:
        raise DamagedError(f"the chunks of block {block} are not those of its snapshots")
    if not there:
        notes.append(
            f"that the chunks of steps {describe(sorted(checksums))} are those of block {block} and not of "
            "another: their own checksums prove the bytes, not the place"
        )
