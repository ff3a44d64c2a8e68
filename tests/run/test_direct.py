"""Files that are written past the kernel's cache are those that are written through it, wherever they lie."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.run.disk import direct
from embevo.run.disk.atomic import write_file
from embevo.run.disk.direct import DIRECT, LEAST_BYTES
from embevo.run.format.room import Room
from embevo.run.writing.past_cache import PastCache

pytestmark = pytest.mark.skipif(not DIRECT, reason="the system has no O_DIRECT")


@settings(max_examples=25, deadline=None)
@given(
    over=st.integers(-2, 9000) | st.sampled_from([0, 4096, 8192]),
    aside=st.sampled_from([0, 1, 512, 4096]),
    sync=st.booleans(),
    shared=st.booleans(),
)
def test_a_file_is_whole_whatever_its_length_and_wherever_its_bytes_lie(
    tmp_path_factory: pytest.TempPathFactory, over: int, aside: int, sync: bool, shared: bool
) -> None:
    shm = Path("/dev/shm")
    directory = shm if shared and shm.is_dir() else tmp_path_factory.getbasetemp()
    path = directory / f"embevo-{os.getpid()}-direct"
    size = LEAST_BYTES + over
    held = Room().take(size + aside)[aside:]
    held[:] = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    try:
        path.write_bytes(b"the file before")
        write_file(path, held.data, sync=sync, direct=True)
        assert path.read_bytes() == held.tobytes()
        assert not path.with_name(path.name + ".partial").exists()
    finally:
        path.unlink()


@pytest.mark.parametrize("code", sorted(direct.REFUSED))
@pytest.mark.parametrize("call", ["open", "write"])
def test_a_file_system_that_refuses_is_written_to_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    original = getattr(os, call)
    refused = []

    def refusing(first: Any, second: Any, *rest: Any) -> Any:
        past = second & DIRECT if call == "open" else len(second) > 1 and not refused
        if past:
            refused.append(call)
            raise OSError(code, os.strerror(code))
        return original(first, second, *rest)

    monkeypatch.setattr(os, call, refusing)
    held = Room().take(LEAST_BYTES + 5)
    held[:] = 7
    write_file(tmp_path / "file", held.data, sync=False, direct=True)
    assert refused == [call]
    assert (tmp_path / "file").read_bytes() == held.tobytes()


def test_a_disk_that_is_full_is_an_error_and_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"before")

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write_file(tmp_path / "file", Room().take(LEAST_BYTES).data, sync=False, direct=True)
    assert (tmp_path / "file").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_what_is_not_compressed_goes_past_the_cache_and_only_while_the_disk_is_quick() -> None:
    choice = PastCache()
    assert [choice.wanted(effort) for effort in ("small", "fast", "none")] == [False, False, True]
    choice.took(0.1, 1.0)
    assert choice.wanted("none")
    # The disk takes nearly as long as the steps do: the ring would fill.
    choice.took(0.9, 1.0)
    later = [choice.wanted("none") for _ in range(1000)]
    assert not later[0]
    assert later[-1]
    assert later == sorted(later)


def test_memory_is_used_again_and_begins_at_a_page() -> None:
    room = Room()
    first = [room.take(size) for size in (10, 5000, 1)]
    assert all(held.ctypes.data % 4096 == 0 for held in first)
    room.clear()
    second = [room.take(size) for size in (10, 4000, 1)]
    assert [one.ctypes.data for one in second] == [one.ctypes.data for one in first]
    assert [one.size for one in second] == [10, 4000, 1]
    room.clear()
    assert room.take(9000).size == 9000
