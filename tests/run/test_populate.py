"""The pages of coming slots are ready to be stored into before somebody has to wait for them."""

import mmap
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embevo.run.journal import ring as journal_module
from embevo.run.journal.ring import Journal
from support import written


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Journal]:
    """Slots that are several pages long and begin anywhere in one."""
    ring = Journal.create(tmp_path / "large", written.frame_of((50, 41), embeddings="float32"), 7)
    yield ring
    ring.close()


@given(row=st.integers(0, 1000), rows=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pages_of_coming_slots_are_made_ready_and_not_many_others(
    large: Journal, row: int, rows: int
) -> None:
    asked: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "populate", lambda address, length: asked.append((address, length)))
        large.ready(row, rows)
    base = large._bytes.ctypes.data
    ready = np.zeros(large.size, bool)
    for address, length in asked:
        assert address % mmap.PAGESIZE == 0
        assert 0 <= address - base < address - base + length <= large.size
        ready[address - base : address - base + length] = True
    slots = {(row + index) % large.slots for index in range(rows)}
    for slot in range(large.slots):
        start = large._start(slot)
        mine = ready[start : start + large._slot_bytes]
        assert mine.all() if slot in slots else mine.sum() < mmap.PAGESIZE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts faults by thread")
def test_storing_into_a_slot_that_is_ready_takes_no_faults(large: Journal) -> None:
    def faults() -> int:
        """Of storing into every page, just after the kernel has written all of them."""
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        for start in range(0, large.size, mmap.PAGESIZE):
            large._memory[start] = large._memory[start]
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    large.sync()
    if faults() < large.size // mmap.PAGESIZE:
        pytest.skip("this file system needs not be told of stores")
    large.sync()
    large.ready(0, large.slots)
    # The header's page is no slot's.
    assert faults() <= 2
