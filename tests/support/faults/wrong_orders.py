"""The orders that lose data, for negative controls: a rig that does not notice them proves nothing."""

import os
import time
from pathlib import Path
from typing import Any

from embevo.recording import recorder as recorder_module
from embevo.run.journal.ring import Journal
from embevo.run.writing import local_sink


def use_wrong_order(name: str) -> None:
    """Have this process do one of them; an empty name is the right order."""
    if name == "commit word before payload":
        original_begin, original_copy = Journal.begin, recorder_module.HostStaging.copy

        def begin(journal: Journal, row: int) -> None:
            original_begin(journal, row)
            journal._words[journal._start(row) >> 3] = row + 1

        def copy(staging: Any, row: int) -> None:
            time.sleep(0.002)
            original_copy(staging, row)

        Journal.begin = begin
        recorder_module.HostStaging.copy = copy
    elif name == "metadata before chunks":
        original_write = local_sink.write_file
        held: list[tuple[Path, bytes]] = []

        def write(where: Path | str, data: bytes, *, sync: bool, direct: bool = False) -> None:
            path = Path(where)
            if path.name.startswith("c."):
                held.append((path, data))
                return
            original_write(path, data, sync=sync, direct=direct)
            if path.name == "zarr.json" and path.parent.suffix == ".zarr":
                for chunk in held:
                    time.sleep(0.02)
                    original_write(*chunk, sync=sync)
                held.clear()

        local_sink.write_file = write
    elif name == "no fsync":
        os.fsync = lambda _: None
    elif name == "no sync of the journal":
        Journal.sync = lambda _: None
    elif name:
        raise ValueError(name)
