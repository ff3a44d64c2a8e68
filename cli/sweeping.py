"""Giving out the runs of a sweep to those who train them, and again where a training was cut short."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from pathlib import Path
from typing import Final

from embevo.errors import SweepError
from embevo.experiment.attempt import Ended, Order, attempt, libraries, numeric_environment
from embevo.experiment.grid import GridRun
from embevo.experiment.session import Session
from embevo.experiment.sweep import Status, Sweep
from embevo.run.disk.atomic import write_file

from .sweep_workers import Workers

_LOOK_SECONDS: Final = 0.25
# How long a run is waited for that gets no further, where nobody can tell whether somebody writes it.
_DOUBT_SECONDS: Final = 60
# What a training exits with when a signal has ended it with everything sealed: 128 and the signal.
_SIGNALLED: Final = range(129, 160)


class Conductor:
    """Sees to it that runs of a sweep are trained.

    Attributes:
        sweep: of the runs.
        workers: who train them.
        threads: of each process that begins a run.
        resumes: how many times a run is resumed whose process was killed, or told to end before it got
            further.
    """

    def __init__(self, sweep: Sweep, workers: Workers, *, threads: int, resumes: int) -> None:
        """Nothing is given out yet."""
        self.sweep, self.workers, self.threads, self.resumes = sweep, workers, threads, resumes
        self._running: dict[Future[Ended], GridRun] = {}
        self._ends: dict[str, list[str]] = {}
        self._reached: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        self._seen: dict[str, tuple[Status, float]] = {}

    def train(self, runs: list[GridRun], on_look: Callable[[], bool]) -> None:
        """Train runs to their ends, each from where it is; why one failed is kept with the sweep.

        Runs are left as they are that somebody may be writing and that get no further, where the file system
        does not tell.

        Args:
            runs: in the order in which they are given out.
            on_look: called now and then; True for ending with what is captured sealed.

        Raises:
            SweepError: those who train are gone, or cannot train, or files of the sweep cannot be written;
                what they had begun has been told to end.
        """
        waiting = list(runs)
        session = Session(self.sweep.folder)
        try:
            while not on_look() and (waiting or self._running):
                self._give_out(waiting, session)
                if not self._running:
                    if self._is_hopeless(waiting):
                        break
                    time.sleep(_LOOK_SECONDS)
                ended = wait([*self._running], _LOOK_SECONDS, FIRST_COMPLETED).done
                # A terminal tells trainings to end, too: that is not held against them.
                if on_look():
                    break
                for future in ended:
                    run = self._running.pop(future)
                    if self._again(run, self._outcome(run, future), session):
                        waiting.append(run)
        except OSError as error:
            file = error.filename or self.sweep.folder
            raise SweepError(f"{file}: {error.strerror}. {_WITH_THAT}") from error
        finally:
            session.end()
            self._see_them_end()

    def _give_out(self, waiting: list[GridRun], session: Session) -> None:
        """Give out as many as there are workers for; one that another process writes is waited for."""
        free = self.workers.at_once() - len(self._running)
        for run in list(waiting):
            if free <= 0:
                break
            if self.sweep.is_written(run) or not self.sweep.free(run):
                continue
            waiting.remove(run)
            status = self.sweep.status(run)
            if status.state not in ("complete", "failed"):
                self._reached[run.name] = -1 if status.step is None else status.step
                self._logged[run.name] = self.sweep.logged(run)
                future = self.workers.executor.submit(attempt, self._order(run, session))
                self._running[future] = run
                free -= 1

    def _is_hopeless(self, waiting: list[GridRun]) -> bool:
        """Whether all that wait may be written, which nobody can tell, and none gets further."""
        if not all(self.sweep.is_written(run) for run in waiting):
            return not waiting
        now = time.monotonic()
        for run in waiting:
            status = self.sweep.status(run)
            if run.name not in self._seen or self._seen[run.name][0] != status:
                self._seen[run.name] = status, now
        found = [self._seen[run.name] for run in waiting]
        return all(seen.state == "unknown" and now - since >= _DOUBT_SECONDS for seen, since in found)

    def _order(self, run: GridRun, session: Session) -> Order:
        settings = self.sweep.settings(run)
        write_file(settings, run.config.to_toml().encode(), sync=False)
        return Order(
            path=str(self.sweep.path(run)),
            settings=str(settings),
            log=str(self.sweep.log(run)),
            session=str(session.file),
            folder=str(Path.cwd()),
            # Another number of threads gives other bits: a run goes on with as many as it was begun with.
            threads=self.sweep.threads_of(run) or self.threads,
            numeric=numeric_environment(os.environ),
            libraries=libraries(),
            python=self.workers.python,
            tied=self.workers.tied,
        )

    def _outcome(self, run: GridRun, future: Future[Ended]) -> Ended:
        """How an attempt has ended, also where whoever made it has died."""
        try:
            return future.result()
        except CancelledError as error:
            raise SweepError(gone(self.workers.name)) from error
        except self.workers.died as error:
            return Ended("", lost=f"{type(error).__name__}: {error}")
        except Exception as error:
            raise SweepError(
                f"{self.workers.name} cannot train {run.name}: {type(error).__name__}: {error}. "
                f"{_INSTALLED} {_AGAIN}"
            ) from error

    def _again(self, run: GridRun, ended: Ended, session: Session) -> bool:
        """Whether a run is to be given out again after an attempt; keeps why not, where it has failed."""
        if ended.refused:
            raise SweepError(f"{ended.refused} {_AGAIN}")
        if ended.unseen and session.file.exists():
            raise SweepError(unseen(ended.host, self.sweep.out))
        if ended.unseen:
            raise SweepError(f"{session.file} was removed while the sweep was at work. {_WITH_THAT}")
        if ended.lost:
            return self._resumed(run, ended.lost)
        if ended.code is None:
            return True
        if ended.code < 0 or ended.code in _SIGNALLED:
            return self._after_signal(run, ended.code)
        return self._after_end(run, ended.code)

    def _after_end(self, run: GridRun, code: int) -> bool:
        if code == 0:
            if self.sweep.status(run).state != "complete":
                self.sweep.fail(run, f"it has ended, and not all is recorded: see {self.sweep.log(run)}")
            return False
        if self.sweep.is_written(run):
            return True
        said = self.sweep.last_words(run, self._logged[run.name])
        self.sweep.fail(run, said or f"it ended with {code} and said nothing: see {self.sweep.log(run)}")
        return False

    def _after_signal(self, run: GridRun, code: int) -> bool:
        # Told to end, it has sealed what it had; where a job's time is over, that is as it should be.
        last = self.sweep.status(run).step
        if code > 0 and last is not None and last > self._reached[run.name]:
            return True
        number = code - 128 if code > 0 else -code
        return self._resumed(run, f"its process was killed by {signal.Signals(number).name}")

    def _resumed(self, run: GridRun, what: str) -> bool:
        """Whether a run is resumed after what has become of its process."""
        ends = self._ends.setdefault(run.name, [])
        ends.append(what)
        if len(ends) <= self.resumes:
            return True
        times = "" if len(ends) == 1 else f", the last of {len(ends)} times"
        self.sweep.fail(run, f"{what}{times}")
        return False

    def _see_them_end(self) -> None:
        """Wait for what trains; the session has ended, so that it ends after its step."""
        while self._running:
            for future in wait([*self._running], _LOOK_SECONDS, FIRST_COMPLETED).done:
                del self._running[future]
            for future, run in [*self._running.items()]:
                # What is queued, or was given to somebody who is gone, will write nothing.
                if not self.sweep.is_written(run) and future.cancel():
                    del self._running[future]


_WITH_THAT: Final = "What is still there is as it was captured; the same command goes on with that."
_AGAIN: Final = "What was captured is safe; the same command goes on."
_INSTALLED: Final = "Install there what is here, and see that it sees the same directories."


def gone(workers: str) -> str:
    """What is said of workers that cannot be reached any more."""
    return f"{workers} has gone. {_AGAIN}"


def unseen(host: str, out: Path) -> str:
    """What is said of a machine that does not see the directory of a sweep."""
    return (
        f"{host} does not see {out}, or sees another directory of that name: those who train need a file "
        f"system in common. Choose an --out that is there. {_AGAIN}"
    )
