"""The processes of a sweep: each run is trained in one of its own, resumed if that is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import Final

from embevo.experiment.grid import GridRun
from embevo.experiment.sweep import Sweep

_LOOK_SECONDS: Final = 0.5
_EMBEVO: Final = [sys.executable, "-c", "from embevo_cli.main import main; main()"]
# What a training exits with when a signal has ended it with everything sealed: 128 and the signal.
_SIGNALLED: Final = range(129, 160)


class Training:
    """Trains runs of a sweep in processes; called from several threads at once.

    Attributes:
        sweep: of the runs.
        threads: of each process that begins a run.
        resumes: how many times a run is resumed whose process was killed.
    """

    def __init__(self, sweep: Sweep, *, threads: int, resumes: int) -> None:
        """Nothing is started yet."""
        self.sweep, self.threads, self.resumes = sweep, threads, resumes
        self._stopping = threading.Event()
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def train(self, run: GridRun) -> None:
        """Train a run to its end, from where it is; why it failed is kept with the sweep."""
        killed: list[int] = []
        while not self._stopping.is_set():
            if self.sweep.is_written(run):
                # By a process that a killed sweep has left behind, or that somebody has started.
                self._stopping.wait(_LOOK_SECONDS)
                continue
            status = self.sweep.status(run)
            if status.state in ("complete", "failed"):
                return
            ended = self._process(run, resume=status.state == "interrupted")
            if self._stopping.is_set():
                return
            if ended == 0:
                if self.sweep.status(run).state != "complete":
                    self.sweep.fail(run, f"it has ended, and not all is recorded: see {self.sweep.log(run)}")
                return
            if ended > 0 and ended not in _SIGNALLED:
                self.sweep.fail(run, self.sweep.last_words(run))
                return
            killed.append(-ended if ended < 0 else ended - 128)
            if len(killed) > self.resumes:
                names = ", ".join(signal.Signals(number).name for number in killed)
                self.sweep.fail(run, f"its process was killed {len(killed)} times, by {names}")
                return

    def stop(self) -> None:
        """Begin no more, and have what trains seal what it has captured and end."""
        self._stopping.set()
        with self._lock:
            for process in self._alive:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)

    def _process(self, run: GridRun, *, resume: bool) -> int:
        """Train a run in a process; how that ended."""
        settings = self.sweep.settings(run)
        settings.write_text(run.config.to_toml())
        path = str(self.sweep.path(run))
        command = [
            *_EMBEVO,
            "train",
            *(["--resume", path] if resume else ["--config", settings, "--out", path]),
        ]
        # Another number of threads gives other bits: a run goes on with as many as it was begun with.
        threads = self.sweep.threads_of(run) or self.threads
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with self.sweep.log(run).open("ab") as log:
            with self._lock:
                if self._stopping.is_set():
                    return 0
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
                self._alive.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._alive.discard(process)


def train_all(
    training: Training,
    runs: list[GridRun],
    *,
    jobs: int,
    on_look: Callable[[], bool],
) -> None:
    """Train runs, as many at once as there are jobs.

    Args:
        training: trains one.
        runs: in the order in which they are begun.
        jobs: how many at once.
        on_look: called now and then; True for ending with what is captured sealed.
    """
    with ThreadPoolExecutor(jobs) as executor:
        _see_through(executor, training, runs, on_look)


def _see_through(
    executor: Executor, training: Training, runs: list[GridRun], on_look: Callable[[], bool]
) -> None:
    waiting: set[Future[None]] = {executor.submit(training.train, run) for run in runs}
    try:
        while waiting:
            done, waiting = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            if on_look():
                break
    finally:
        if waiting:
            training.stop()
        for future in waiting:
            future.cancel()
