"""Sinks that wait or fail when they are told to."""

import threading
from pathlib import Path
from typing import Any

import pytest

from embevo.run.disk.atomic import write_file
from embevo.run.writing import local_sink, sealing


class SlowSink:
    """Lets blocks be written only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.open = False
        original = sealing.Sealer.seal

        def seal(sealer: sealing.Sealer, journal: Any, stop: int) -> None:
            self.reached.release()
            if not self.open:
                assert self.allowed.acquire(timeout=60)
            original(sealer, journal, stop)

        monkeypatch.setattr(sealing.Sealer, "seal", seal)

    def let_all(self) -> None:
        self.open = True
        self.allowed.release(1000)


class FailingSink:
    """Fails to write whatever comes after a number of files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, *, after: int) -> None:
        self.left = after
        self.failed = threading.Event()
        self.mended = False
        # Cleared by a test that has more to do before anything is written.
        self.open = threading.Event()
        self.open.set()

        def failing(path: Path, data: bytes, *, sync: bool, direct: bool = False) -> None:
            assert self.open.wait(60)
            self.left -= 1
            if self.left < 0 and not self.mended:
                self.failed.set()
                raise (
                    error
                    if not isinstance(error, OSError)
                    else OSError(error.errno, error.strerror, str(path))
                )
            write_file(path, data, sync=sync, direct=direct)

        self.patch = lambda: monkeypatch.setattr(local_sink, "write_file", failing)


NO_SPACE = OSError(28, "No space left on device")
