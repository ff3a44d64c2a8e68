"""File systems and systems that lack a call: what can be done honestly is done, the rest is refused."""

import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embevo.errors import CreationError, UnsupportedError, WeakerPromiseWarning
from embevo.run.disk import process
from embevo.run.disk.atomic import NO_SYNCING, sync_file, write_file
from embevo.run.disk.lock import WriterLock
from embevo.run.disk.process import boot_id, is_alive, this_process
from embevo.run.disk.reserve import NO_RESERVING
from embevo.run.format.effort import EFFORTS
from embevo.run.journal.ring import NO_MAPPING, Journal
from embevo.run.limits import available_cores
from embevo.run.reading import chunk_reader
from embevo.run.reading.reader import open_run
from embevo.run.repair.compacting import compact
from embevo.run.writing.effort_choice import EffortChoice
from support import encoded, written


def failing(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", sorted(NO_SYNCING))
def test_directories_that_cannot_be_synced_are_said_and_files_are_synced(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []

    def fsync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(is_directory)
        if is_directory:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(WeakerPromiseWarning, match="cannot sync directories"):
        write_file(tmp_path / "file", b"bytes", sync=True)
    assert synced == [False, True]
    assert (tmp_path / "file").read_bytes() == b"bytes"
    # Of a file, it is an error: nothing could be promised.
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_file(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_directory_that_fails_to_be_synced_is_an_error(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_file(tmp_path)


@pytest.mark.parametrize("number", [*sorted(NO_RESERVING), None])
def test_where_blocks_cannot_be_reserved_they_are_written(
    tmp_path: Path, number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", failing(number))
    journal = Journal.create(tmp_path / "journal", written.frame_of(embeddings="float32"), 3)
    status = (tmp_path / "journal").stat()
    assert status.st_size == journal.size
    assert status.st_blocks * 512 >= journal.size, "it has holes"
    journal.close()


def test_where_blocks_are_written_and_the_disk_is_full_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    with pytest.raises(CreationError, match="No space left"):
        Journal.create(tmp_path / "journal", written.frame_of(embeddings="float32"), 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", sorted(NO_MAPPING))
def test_a_file_system_without_shared_mappings_is_refused(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "mmap", failing(number))
    with pytest.raises(UnsupportedError, match=r"no shared mappings.*local disk"):
        Journal.create(tmp_path / "journal", written.frame_of(embeddings="float32"), 3)
    assert list(tmp_path.iterdir()) == []


def test_drives_are_flushed_by_name_where_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def control(descriptor: int, command: int) -> int:
        asked.append(command)
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    write_file(tmp_path / "file", b"bytes", sync=True)
    assert asked == [51, 51]
    journal = Journal.create(tmp_path / "journal", written.frame_of(embeddings="float32"), 3)
    journal.sync()
    assert asked == [51, 51, 51]
    journal.close()
    # Where the drive cannot be told, the system's own call is made.
    monkeypatch.setattr(fcntl, "fcntl", failing(errno.ENOTSUP))
    with pytest.raises(OSError, match="Input/output"):
        sync_file(tmp_path / "file")


@pytest.mark.parametrize("missing", ["posix_fadvise", "posix_fallocate", "sched_getaffinity"])
def test_calls_of_linux_are_done_without(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, missing)
    write_file(tmp_path / "file", bytes(2 << 20), sync=False)
    Journal.create(tmp_path / "journal", written.frame_of(embeddings="float32"), 3).close()
    assert (tmp_path / "file").stat().st_size == 2 << 20
    # Whatever is asked how many cores there are, or which of them are idle.
    assert available_cores(tmp_path / "nothing").amount == os.cpu_count()
    assert EffortChoice("auto").next(1 << 20, 1.0) in EFFORTS
    monkeypatch.setattr(chunk_reader, "_BYTES_FOR_THREADS", 0)
    path = written.write_run(tmp_path / "run", rows=8, sealed=8, store="zarr").path
    compact(path)
    assert encoded.same_bits(open_run(path)["embeddings"][:], encoded.matrices(range(8), (5, 3), "float32"))


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
def test_where_the_system_tells_nothing_of_a_process_nothing_is_claimed(
    tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sysctl nor ps nor /proc: a lock is still taken and let go of, and no process is called dead."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(subprocess, "run", failing(errno.ENOENT))
    monkeypatch.setattr(Path, "read_text", failing(errno.ENOENT))
    monkeypatch.setattr(Path, "readlink", failing(errno.ENOENT))
    assert boot_id() == ""
    assert is_alive({**this_process(), "pid": 2**22 + 1}) is None
    lock = WriterLock(tmp_path / "writer.lock")
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_on_macos_ps_tells_when_a_process_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(process, "_printed", lambda *command: "boot" if "sysctl" in command[0] else "then")
    described = this_process()
    assert (described["boot"], described["started"]) == ("boot", "then")
    assert is_alive(described) is True
    assert is_alive({**described, "started": "before"}) is False


@pytest.mark.parametrize("what", ["from embevo import Recorder", "from embevo import open_run"])
def test_a_system_that_cannot_run_it_says_which_ones_can(what: str) -> None:
    if "Recorder" in what:
        pytest.importorskip("torch")
    script = f"import sys; sys.modules['fcntl'] = None\n{what}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "UnsupportedError: embevo runs on Linux and macOS" in done.stderr
    assert "WSL 2" in done.stderr


def test_where_it_cannot_run_zarr_still_finds_its_dtype() -> None:
    script = "import sys; sys.modules['fcntl'] = None\nimport zarr, embevo.run.format.bfloat16"
    subprocess.run([sys.executable, "-c", script], check=True)
