"""The client of the rig: servers that fork, kill and check, and what to ask of them."""

import dataclasses
import itertools
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.faults.oracle import Plan

FULL = os.environ.get("EMBEVO_FAULTS") == "full"
COUNTS: Counter[str] = Counter()
STARTED, CREATED, CLOSING = 1, 2, 3

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def quick_or_full(quick: int, full: int) -> int:
    """How often; the full number with EMBEVO_FAULTS=full."""
    return full if FULL else quick


class Rig:
    """Some servers and a directory for their runs."""

    def __init__(self, directory: Path, servers: int) -> None:
        self.directory = directory
        # A kill loses no page of either; the one is faster, the other is where people record.
        shared = Path("/dev/shm")
        self._memory = Path(tempfile.mkdtemp(dir=shared)) if os.access(shared, os.W_OK) else directory
        self._numbers = itertools.count()
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._all = [self._start() for _ in range(servers)]
        for server in self._all:
            self._idle.put(server)

    def _start(self) -> subprocess.Popen[str]:
        here = Path(__file__).parent
        tests = here.parents[1]
        # The tree that the tests are part of, whichever embevo is installed.
        path = os.pathsep.join([str(tests.parent), str(tests)])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, str(here / "rig_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def path(self, *, in_memory: bool = False) -> str:
        """The path of a run that does not exist yet; in memory, fsync costs nothing."""
        directory = self._memory if in_memory else self.directory
        return str(directory / f"run-{next(self._numbers)}")

    def ask(self, plan: Plan, **request: Any) -> dict[str, Any]:
        """Have one thing done, to a run in memory if no path is given; blocks until it is done."""
        request = {"path": self.path(in_memory=True), "plan": dataclasses.asdict(plan), **request}
        server = self._idle.get()
        try:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            line = server.stdout.readline()
            while line == '"ready"\n':
                line = server.stdout.readline()
            assert line, "the server of the rig has died"
            answer: dict[str, Any] = json.loads(line)
            return answer
        finally:
            self._idle.put(server)

    def ask_all(
        self, requests: Iterable[tuple[Plan, dict[str, Any]]]
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Many things, as many at once as there are servers."""
        with ThreadPoolExecutor(len(self._all)) as pool:
            asked = list(requests)
            answers = pool.map(lambda item: self.ask(item[0], **item[1]), asked)
            yield from zip(asked, answers, strict=True)

    def close(self) -> None:
        for server in self._all:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        if self._memory != self.directory:
            shutil.rmtree(self._memory)


def random_kill(rng: random.Random, plan: Plan) -> dict[str, Any]:
    """A moment of a recording: its creation, its captures, or its close."""
    kind = rng.random()
    if kind < 0.08:
        return {"phase": STARTED, "captured": 0, "delay": rng.uniform(0, 0.04)}
    if kind < 0.2:
        return {"phase": CLOSING, "captured": 0, "delay": rng.uniform(0, 0.04)}
    delay = rng.choice([rng.uniform(0, 0.0002), rng.uniform(0, 0.02)])
    return {"phase": CREATED, "captured": rng.randrange(plan.steps + 1), "delay": delay}


def calls_of(lines: list[str]) -> list[tuple[str, int]]:
    """The calls of a log that change the disk, each with its number among those of its name."""
    counts: Counter[str] = Counter()
    found = []
    for line in lines:
        match = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if not match:
            continue
        name = match[1]
        counts[name] += 1
        reads_only = (
            name == "openat" and "O_CREAT" not in line and "O_WRONLY" not in line and "O_RDWR" not in line
        )
        # numcodecs makes a lock at its first compression, and does without one if it cannot.
        lock = "/dev/shm/sem." in line
        # One that fails anyway, because a directory is there or not there yet, changes nothing.
        if not reads_only and not lock and " = -1 E" not in line:
            found.append((name, counts[name]))
    return found


def some(found: list[Any], number: int, seed: str) -> list[Any]:
    """All of them in the full suite, else a few that are spread over them."""
    return found if FULL else spread(found, number, seed)


def spread(found: list[Any], number: int, seed: str) -> list[Any]:
    """A few, one drawn from each of as many stretches."""
    if len(found) <= number:
        return found
    rng = random.Random(seed)
    width = len(found) / number
    return [found[int((place + rng.random()) * width)] for place in range(number)]


_LOCK = threading.Lock()


def count(what: str, number: int = 1) -> None:
    """Add to what the summary of the tests shows."""
    with _LOCK:
        COUNTS[what] += number
