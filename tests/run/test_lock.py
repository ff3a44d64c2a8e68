"""One writer at a time, and the next one may come when it is gone."""

import errno
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embevo.errors import RunInUseError, WeakerPromiseWarning
from embevo.run.disk import lock as lock_module
from embevo.run.disk.lock import NO_LOCKS, WriterLock, writer_of
from embevo.run.disk.process import is_alive, this_process

HOLDER = """
import ctypes, errno, fcntl, multiprocessing, os, signal, sys, time, warnings
from pathlib import Path
from embevo.run.disk.lock import WriterLock
warnings.simplefilter("ignore")
if len(sys.argv) > 3 and sys.argv[3] != "locks":
    def refuse(*_):
        raise OSError(int(sys.argv[3]), "injected")
    fcntl.flock = refuse
lock = WriterLock(Path(sys.argv[1]))
pid = 0
if sys.argv[2] == "fork":
    pid = os.fork()
elif sys.argv[2] == "fork past the interpreter":
    pid = ctypes.CDLL(None).fork()
elif sys.argv[2] == "a pool":
    # A worker that waits for work ends when its parent does; one that works does not.
    def work():
        print(os.getpid(), flush=True)
        time.sleep(3600)
    pool = multiprocessing.get_context("fork").Pool(1)
    pool.apply_async(work)
    signal.pause()
if pid or sys.argv[2] == "alone":
    print(pid, flush=True)
    signal.pause()
time.sleep(3600)
"""
HELPERS = ["fork", "fork past the interpreter", "a pool"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.lock"


@pytest.fixture
def helpers() -> Iterator[list[int]]:
    """Processes that a test leaves behind."""
    left: list[int] = []
    yield left
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def hold(path: Path, helper: str = "alone", error: str = "locks") -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", HOLDER, str(path), helper, error]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def opened(pid: int) -> list[str]:
    """The lock files that a process has open."""
    names = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [name for name in names if "writer.lock" in name]


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have the file system know no locks."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_second_process_is_refused_with_pid_and_host_and_takes_over_from_a_killed_one(path: Path) -> None:
    holder, _ = hold(path)
    with pytest.raises(RunInUseError, match=f"process {holder.pid} on {socket.gethostname()}"):
        WriterLock(path)
    kill(holder)
    assert path.exists(), "a killed process cannot have removed it"
    lock = WriterLock(path)
    assert f'"pid": {os.getpid()}' in path.read_text()
    lock.release()
    assert not path.exists()


def test_a_second_lock_in_the_same_process_is_refused(path: Path) -> None:
    lock = WriterLock(path)
    with pytest.raises(RunInUseError, match=rf"process {os.getpid()}.*its recorder first.*directory\.$"):
        WriterLock(path)
    lock.release()
    WriterLock(path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"pid": 1}', b"null", b"[" * 9999])
def test_an_unreadable_owner_is_still_an_owner(path: Path, content: bytes) -> None:
    lock = WriterLock(path)
    path.write_bytes(content)
    with pytest.raises(RunInUseError, match="another process"):
        WriterLock(path)
    owner = writer_of(path)
    assert owner is not None
    assert owner.certain
    lock.release()


def test_a_lock_whose_file_was_removed_and_made_anew_is_not_taken_for_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    attempts: list[int] = []

    def removing(descriptor: int, operation: int) -> None:
        # The holder before releases between this process's open and its flock.
        if not attempts:
            path.unlink()
        attempts.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removing)
    lock = WriterLock(path)
    monkeypatch.undo()
    assert len(attempts) == 2
    with pytest.raises(RunInUseError):
        WriterLock(path)
    lock.release()


@pytest.mark.parametrize("error", ["locks", str(errno.ENOSYS)])
@pytest.mark.parametrize("helper", HELPERS)
def test_the_lock_dies_with_its_process_though_a_child_lives_on(
    path: Path, helper: str, error: str, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, child = hold(path, helper, error)
    helpers.append(child)
    if error != "locks":
        refuse(monkeypatch, int(error))
    with pytest.raises(RunInUseError, match=f"process {holder.pid} "):
        WriterLock(path)
    owner = writer_of(path)
    assert owner is not None
    assert owner.certain
    kill(holder)
    os.kill(child, 0)
    assert helper == "fork past the interpreter" or opened(child) == []
    assert writer_of(path) is None
    if error == "locks":
        lock = WriterLock(path)
    else:
        with pytest.warns(WeakerPromiseWarning, match="no locks"):
            lock = WriterLock(path)
    owner = writer_of(path)
    assert owner is not None
    assert f"process {os.getpid()} " in owner.name
    assert sorted(path.parent.iterdir()) == [path]
    lock.release()
    assert list(path.parent.iterdir()) == []


def test_a_forked_child_neither_holds_nor_releases_the_lock(path: Path) -> None:
    lock = WriterLock(path)
    before = path.read_bytes()
    pid = os.fork()
    if pid == 0:
        # The number of the descriptor is free, and may be that of a file of the child's own.
        own = os.open(os.devnull, os.O_RDONLY)
        try:
            lock.release()
            os.fstat(own)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.read_bytes() == before
    with pytest.raises(RunInUseError):
        WriterLock(path)
    lock.release()


def test_forking_while_locks_are_taken_and_looked_at_leaves_none_behind(path: Path) -> None:
    """Threads take and let go of a lock while the main thread forks children that live on."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            WriterLock(path).release()
            writer_of(path)

    thread = threading.Thread(target=work)
    thread.start()
    children = []
    try:
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        stop.set()
        thread.join()
        WriterLock(path).release()
        for child in children:
            assert opened(child) == []
    finally:
        stop.set()
        thread.join()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.parametrize("number", sorted(NO_LOCKS))
def test_without_locks_the_file_is_the_lock(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, number)
    with pytest.warns(WeakerPromiseWarning, match="removed by hand"):
        lock = WriterLock(path)
    owner = writer_of(path)
    assert owner is not None
    assert owner.certain
    with pytest.raises(RunInUseError, match=f"process {os.getpid()}"):
        WriterLock(path)
    lock.release()
    assert writer_of(path) is None
    assert list(path.parent.iterdir()) == []


UNTOLD: list[dict[str, Any]] = [
    {},
    {"pid": 1, "host": "elsewhere"},
    {**this_process(), "boot": "another"},
    {**this_process(), "namespace": "pid:[1]"},
    {**this_process(), "started": ""},
    {**this_process(), "pid": True},
    {**this_process(), "pid": 2**40},
    {**this_process(), "pid": "1"},
]


@pytest.mark.parametrize("fields", UNTOLD)
def test_without_locks_a_writer_that_cannot_be_told_dead_is_not_replaced(
    path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(json.dumps({**fields, "kept_by": "file"}))
    before = path.read_bytes()
    assert is_alive(fields) is None
    refuse(monkeypatch, errno.ENOLCK)
    with pytest.raises(RunInUseError, match=f"remove {path}"):
        WriterLock(path)
    owner = writer_of(path)
    assert owner is not None
    assert not owner.certain
    assert path.read_bytes() == before
    # A file system that has got locks since does not prove it either.
    monkeypatch.undo()
    with pytest.raises(RunInUseError, match=f"remove {path}"):
        WriterLock(path)
    # What the message advises works.
    path.unlink()
    WriterLock(path).release()


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(json.dumps({**this_process(), "started": "1", "kept_by": "file"}))
    refuse(monkeypatch, errno.ENOSYS)
    assert writer_of(path) is None
    with pytest.warns(WeakerPromiseWarning):
        WriterLock(path).release()


def test_a_place_beside_that_a_killed_process_has_left_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = json.dumps({**this_process(), "started": "1", "kept_by": "file"})
    path.write_text(dead)
    beside = path.with_name("writer.lock.partial")
    beside.write_text(dead)
    with monkeypatch.context() as patch:
        refuse(patch, errno.ENOSYS)
        with pytest.raises(RunInUseError, match=f"remove {beside}"):
            WriterLock(path)
    # The kernel knows that nobody holds it.
    WriterLock(path).release()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("error", ["locks", str(errno.ENOSYS)])
def test_of_many_that_take_the_place_of_a_dead_one_each_is_alone(
    path: Path, error: str, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes race for a lock whose owner is gone, again and again; two never hold it at once."""
    context = multiprocessing.get_context("fork")
    holder, child = hold(path, "fork past the interpreter", error)
    helpers.append(child)
    kill(holder)
    if error != "locks":
        refuse(monkeypatch, int(error))
    inside, overlaps, wins = context.Value("i", 0), context.Value("i", 0), context.Value("i", 0)
    start = context.Barrier(4)

    def race() -> None:
        import warnings

        warnings.simplefilter("ignore")
        start.wait()
        for _ in range(40):
            try:
                lock = WriterLock(path)
            except RunInUseError:
                continue
            with inside.get_lock():
                inside.value += 1
                overlaps.value += inside.value > 1
            for _ in range(100):
                os.sched_yield()
            with inside.get_lock():
                inside.value -= 1
            wins.value += 1
            dead = {**this_process(), "started": "1", "kept_by": "flock" if error == "locks" else "file"}
            if error != "locks":
                # It dies without a word: the next one has to take its place.
                path.write_text(json.dumps(dead))
                lock_module._held.discard(lock._descriptor)
                os.close(lock._descriptor)
            else:
                lock.release()

    racers = [context.Process(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert wins.value >= 4
    assert overlaps.value == 0


def test_a_disk_without_room_for_the_name_is_said_with_the_path_and_nothing_stays(path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            WriterLock(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == []
    WriterLock(path).release()
