"""Making a damaged journal one that can be mapped, from what the group says of the run.

A slot proves itself with its seal. So all that a journal with a damaged header, or with its end cut off, has
lost is where its slots begin and how many there are; and that follows from the frame, the steps of a block,
and the length of the file.
"""

import os
from pathlib import Path

from embevo.errors import DamagedError, NotARunError
from embevo.run.disk.named_errors import naming
from embevo.run.disk.regular_file import open_regular
from embevo.run.format.layout import Layout, identity
from embevo.run.journal.header import header_is_whole, header_of, journal_bytes
from embevo.run.journal.ownership import check_journal
from embevo.run.journal.ring import Journal


def open_for_recovery(path: Path, layout: Layout) -> tuple[Journal | None, str]:
    """The journal, writable, and what was wrong with it; no journal if nothing of it was left.

    Raises:
        NotARunError: it is not a journal, or one of a newer format.
        DamagedError: it belongs to another run, or is not a regular file.
        OSError: with the path.
    """
    wrong = ""
    try:
        journal = Journal(path, writable=True)
    except (DamagedError, NotARunError):
        with naming(path):
            wrong = _mend(path, layout)
        if not wrong:
            raise
        if path.stat().st_size == 0:
            return None, wrong
        journal = Journal(path, writable=True)
    try:
        check_journal(journal, layout)
    except DamagedError:
        journal.close()
        raise
    return journal, wrong


def _mend(path: Path, layout: Layout) -> str:
    """Says what was wrong, and is no more; empty if it cannot be mended."""
    descriptor = open_regular(path, writable=True)
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, 1 << 20, 0)
        sizes = {}
        for slots in (2 * layout.block_steps, layout.block_steps):
            header = header_of(layout.frame, slots, run=identity(layout), boot="", host="")
            sizes[journal_bytes(header, layout.frame, slots)] = header
        if header_is_whole(head):
            longer = [length for length in sizes if length > size]
            if not longer:
                return ""
            # What is gone holds no rows. A ring of one block that gets the length of two is refused again.
            os.ftruncate(descriptor, min(longer))
            return f"it had only {size:,} bytes"
        if size in sizes:
            os.pwrite(descriptor, sizes[size], 0)
            return "its header was damaged"
        if not any(head):
            # A power cut leaves files without their bytes.
            os.ftruncate(descriptor, 0)
            return "it was empty"
        return ""
    finally:
        os.close(descriptor)
