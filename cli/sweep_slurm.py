"""Jobs of Slurm as those who train the runs of a sweep, through submitit."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from embevo.errors import ConfigError, MissingLibraryError, SweepError

from .sweep_workers import Workers

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

_P = ParamSpec("_P")
_T = TypeVar("_T")
_INSTALL: Final = "pip install 'embevo[slurm]'"
_LOOK_SECONDS: Final = 0.5
# Slurm is asked what has become of a job that has left no result: seldom, since all its users ask.
_ASK_EVERY: Final = 60
# Options that submitit has for all its clusters; what it has for Slurm alone it calls slurm_...
_SHARED: Final = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "stderr_to_stdout")
_GRACE_SECONDS: Final = 15.0
# Where Slurm keeps no accounts, it is never known; a job that runs is then told to end, which seals its run.
_QUEUED: Final = ("PENDING", "REQUEUED", "CONFIGURING", "UNKNOWN")


class JobLostError(Exception):
    """A job has ended and left no result: it was killed."""


class SlurmExecutor(Executor):
    """A job for each call; its future is done when the job is, and can be cancelled while it is queued."""

    def __init__(self, jobs: "AutoExecutor") -> None:
        """Submit through an executor of submitit."""
        self._jobs = jobs
        self._submitted: list[_JobFuture[Any]] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="embevo-jobs", daemon=True)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Submit a job that makes the call.

        Raises:
            SweepError: Slurm refuses it.
        """
        try:
            job = self._jobs.submit(fn, *args, **kwargs)
        except Exception as error:
            raise SweepError(f"Slurm takes no job: {error}") from error
        future: _JobFuture[_T] = _JobFuture(job)
        self._submitted.append(future)
        if not self._watcher.is_alive():
            self._watcher.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Look after the jobs no more; those that are queued are cancelled if that is asked for."""
        for future in list(self._submitted) if cancel_futures else []:
            future.cancel()
        self._ended.set()
        if wait and self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        looks = 0
        while not self._ended.wait(_LOOK_SECONDS):
            looks += 1
            for future in list(self._submitted):
                if future.done() or future.settle(ask=looks % _ASK_EVERY == 0):
                    self._submitted.remove(future)


class _JobFuture(Future[_T]):
    """What a job will return."""

    def __init__(self, job: "Job[_T]") -> None:
        super().__init__()
        self._job = job
        self._ended_at: float | None = None

    def cancel(self) -> bool:
        """Cancel the job if it is queued."""
        if self._job.state.upper() in _QUEUED and super().cancel():
            with contextlib.suppress(subprocess.CalledProcessError, OSError):
                self._job.cancel()
        return self.cancelled()

    def settle(self, *, ask: bool) -> bool:
        """Take over what the job has returned, if it has ended."""
        if not self._job.done(force_check=ask):
            return False
        if not self._job.paths.result_pickle.exists():
            # A network file system may show it later than Slurm says that the job has ended.
            self._ended_at = time.monotonic() if self._ended_at is None else self._ended_at
            if time.monotonic() < self._ended_at + _GRACE_SECONDS:
                return False
        if not self.set_running_or_notify_cancel():
            return True
        if not self._job.paths.result_pickle.exists():
            said = self._job.paths.stderr
            self.set_exception(
                JobLostError(
                    f"job {self._job.job_id} ended as {self._job.state} and left no result: see {said}"
                )
            )
            return True
        try:
            self.set_result(self._job.result())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the future's
            self.set_exception(error)
        return True


@contextmanager
def slurm_workers(
    options: tuple[str, ...], jobs: int | None, threads: int | None, folder: Path
) -> Iterator[Workers]:
    """Jobs of Slurm, one for each attempt.

    Args:
        options: ``KEY=VALUE``, as of submitit's ``AutoExecutor.update_parameters``; what belongs to Slurm
            alone may be said without ``slurm_``. ``cluster=local`` runs jobs as processes of this machine.
        jobs: how many are with Slurm at once, queued or running; by default all.
        threads: of a training; by default the option ``cpus_per_task``, or 1.
        folder: where submitit keeps what it sends and what jobs print; jobs see it at the same path.

    Raises:
        ConfigError: an option is unknown, has an impossible value, or none says how long a job may take.
        SweepError: there is no Slurm here.
        MissingLibraryError: submitit is not installed.
    """
    try:
        import submitit  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingLibraryError(f"A sweep on Slurm needs submitit: {_INSTALL}") from error
    wanted = parse_options(options)
    cluster = str(wanted.pop("cluster", "slurm"))
    wanted.setdefault("cpus_per_task", threads or 1)
    wanted.setdefault("name", "embevo")
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=cluster)
    except (RuntimeError, ValueError) as error:
        raise SweepError(
            f"{str(error).rstrip('.')}. Start the sweep where sbatch and srun are; --slurm-option "
            "cluster=local tries it on this machine."
        ) from error
    limits = {"timeout_min", "time", "slurm_time"} & set(wanted)
    for name in limits:
        if isinstance(wanted[name], int | float) and wanted[name] <= 0:
            raise ConfigError(f"--slurm-option {name}={wanted[name]}: a job takes at least a minute.")
    if not limits:
        raise ConfigError(
            "--slurm needs --slurm-option timeout_min=MINUTES, how long a job may take. A training that "
            "takes longer is sealed before, and goes on in another job."
        )
    if several := {"nodes", "tasks_per_node"} & set(wanted):
        raise ConfigError(f"--slurm-option {min(several)}: a training is one process on one node.")
    try:
        executor.update_parameters(
            **{
                name if name in _SHARED or name.startswith("slurm_") else f"slurm_{name}": value
                for name, value in wanted.items()
            }
        )
    except (NameError, AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"--slurm-option: {error}") from error
    with SlurmExecutor(executor) as ours:
        yield Workers(
            "Slurm",
            ours,
            lambda: sys.maxsize if jobs is None else jobs,
            int(wanted["cpus_per_task"]),
            python=sys.executable,
            died=(JobLostError, submitit.core.utils.UncompletedJobError),
        )


def parse_options(options: tuple[str, ...]) -> dict[str, Any]:
    """``KEY=VALUE`` by key; what is a whole or other number is one.

    Raises:
        ConfigError: one is no ``KEY=VALUE``.
    """
    found: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise ConfigError(f"--slurm-option {option!r} is not KEY=VALUE, such as timeout_min=60.")
        found[name.strip().replace("-", "_")] = _value(text.strip())
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
