"""Making the metadata of the group show the rows that are there, and no others."""

from embevo.run.disk.checksum import digest, file_digest
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.manifest.damage import damaged_files, difference, image_digest
from embevo.run.manifest.entry import Block
from embevo.run.manifest.manifest import LONGEST_LINE
from embevo.run.repair.repair import Repair


def restore_metadata(repair: Repair) -> int:
    """Make the metadata that of the rows whose blocks are in place; returns how many rows that is."""
    paths, manifest = repair.paths, repair.manifest
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
            if block.stop <= rows:
                # Compacted since, which changes no rows.
                continue
            if any(damaged_files(paths, manifest, block)):
                break
            repair.report.sealed += block.steps[max(0, rows - block.first) :]
            rows = block.stop
    else:
        # The last block that is there, or can be rebuilt, if there is any; those behind it never came to be.
        whole = [block for block in manifest.blocks if _can_be_had(repair, block)]
        rows = max((block.stop for block in whole), default=0)
    for key, data in repair.layout.metadata(rows).items():
        actual = file_digest(paths.trajectory / key, LONGEST_LINE)
        if actual == digest(data):
            continue
        name = f"{paths.trajectory.name}/{key}"
        if actual in [entry.metadata[key] for entry in entries]:
            # Metadata of an array that is ahead after a kill is no damage.
            repair.write(name, data)
        else:
            repair.rebuilt(name, data)
    return rows


def _can_be_had(repair: Repair, block: Block) -> bool:
    """Whether the files of a block are what was written, or can be made from its snapshots."""
    if not any(damaged_files(repair.paths, repair.manifest, block)):
        return True
    return repair.layout.store == "both" and not any(
        difference(
            repair.paths.snapshot(step), [image_digest(repair.layout.frame, block.image_checksum(row))]
        )
        for row, step in zip(block.rows, block.steps, strict=True)
    )
