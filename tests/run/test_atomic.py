"""Whole files or none."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from embevo.run.disk import atomic
from embevo.run.disk.atomic import write_file


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the system calls that change the disk, in order."""
    seen: list[str] = []

    def spy(module: Any, name: str) -> None:
        original = getattr(module, name)

        def recording(*args: Any, **keywords: Any) -> Any:
            seen.append(name)
            return original(*args, **keywords)

        monkeypatch.setattr(module, name, recording)

    for name in ("write", "fsync", "replace"):
        spy(os, name)
    return seen


def fail(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, name, failing)


def test_new_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"one", sync=False)
    write_file(path, memoryview(b"two and more"), sync=True)
    assert path.read_bytes() == b"two and more"
    assert list(tmp_path.iterdir()) == [path]


def test_the_rename_comes_last(tmp_path: Path, calls: list[str]) -> None:
    write_file(tmp_path / "file", b"bytes", sync=False)
    assert calls == ["write", "replace"]


def test_with_sync_the_bytes_are_down_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, calls: list[str]
) -> None:
    write_file(tmp_path / "file", b"bytes", sync=True)
    assert calls == ["write", "fsync", "replace", "fsync"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:3]))
    write_file(tmp_path / "file", b"0123456789", sync=False)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("module", "name"), [(os, "write"), (os, "fsync"), (os, "open"), (os, "replace")])
@pytest.mark.parametrize("before", [None, b"old"])
def test_after_a_failure_the_file_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, before: bytes | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        fail(patch, module, name)
        with pytest.raises(OSError, match="No space left") as caught:
            write_file(path, b"new", sync=True)
    assert caught.value.filename == str(path)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_failing_sync_of_the_directory_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, os, "fsync")
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.sync_file(tmp_path)
    assert caught.value.filename == str(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no such hint on this system")
def test_large_files_start_on_their_way_to_the_disk_when_they_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda descriptor, *_: begun.append(os.fstat(descriptor).st_size)
    )
    for size, sync in ((1 << 10, False), (3 << 20, False), (3 << 20, True)):
        write_file(tmp_path / "file", bytes(size), sync=sync)
    assert begun == [3 << 20]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no such hint on this system")
def test_a_file_system_that_takes_no_hint_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, os, "posix_fadvise")
    write_file(tmp_path / "file", bytes(3 << 20), sync=False)
    assert (tmp_path / "file").read_bytes() == bytes(3 << 20)
