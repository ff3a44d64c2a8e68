"""One writer at a time, and the next one may come when it is gone."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embevo.errors import RunInUseError
from embevo.run.disk.lock import WriterLock

HOLDER = """
import sys
from pathlib import Path
from embevo.run.disk.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.lock"


def hold(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_pid_and_host_and_takes_over_from_a_killed_one(path: Path) -> None:
    with hold(path) as holder:
        with pytest.raises(RunInUseError, match=f"process {holder.pid} on {socket.gethostname()}"):
            WriterLock(path)
        holder.send_signal(signal.SIGKILL)
    assert path.exists(), "a killed process cannot have removed it"
    lock = WriterLock(path)
    assert f'"pid": {os.getpid()}' in path.read_text()
    lock.release()
    assert not path.exists()


def test_a_second_lock_in_the_same_process_is_refused(path: Path) -> None:
    lock = WriterLock(path)
    with pytest.raises(RunInUseError, match=f"process {os.getpid()}"):
        WriterLock(path)
    lock.release()
    WriterLock(path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"pid": 1}', b"null", b"[" * 9999])
def test_an_unreadable_owner_is_still_an_owner(path: Path, content: bytes) -> None:
    lock = WriterLock(path)
    path.write_bytes(content)
    with pytest.raises(RunInUseError, match="another process"):
        WriterLock(path)
    lock.release()


def test_a_lock_whose_file_was_removed_and_made_anew_is_not_taken_for_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

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
