"""The workers of a Dask cluster as those who train the runs of a sweep."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embevo.analysis.scheduler import client_at
from embevo.errors import MissingLibraryError, SweepError
from embevo.experiment.attempt import libraries
from embevo.run.limits import available_cores

from .sweep_workers import Workers
from .sweeping import gone, unseen

if TYPE_CHECKING:
    from distributed import Client

# How long a scheduler may take to answer.
_ANSWER_SECONDS: Final = 10
_INSTALL: Final = "pip install 'embevo[dask]'"


@contextmanager
def dask_workers(address: str, jobs: int | None, out: Path) -> Iterator[Workers]:
    """The workers of a cluster: each thread of a worker trains one run at a time.

    Args:
        address: of the scheduler.
        jobs: how many runs to train at once at most; by default as many as there are threads.
        out: directory of the sweep; it exists.

    Raises:
        SweepError: no scheduler answers, it has no workers, or one lacks a library or does not see ``out``.
        MissingLibraryError: distributed is not installed.
    """
    try:
        from distributed import KilledWorker  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise MissingLibraryError(f"A sweep on a Dask cluster needs distributed: {_INSTALL}") from error
    try:
        client = client_at(address, seconds=_ANSWER_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SweepError(
            f"no Dask scheduler answers at {address} ({error}). Start one with `dask scheduler`, which says "
            "its address, or leave --dask out: runs are then trained on this machine."
        ) from error
    with client:
        cores, name = _check(client, address, out), f"the Dask cluster at {address}"
        yield Workers(
            name,
            client.get_executor(pure=False),
            _at_once(client, jobs, name),
            cores,
            died=(KilledWorker,),
        )


def _at_once(client: "Client", jobs: int | None, name: str) -> Callable[[], int]:
    """How many threads there are now, of workers that come and go."""

    def count() -> int:
        # What was given out is lost with the connection, also where that comes back.
        if client.status != "running":
            raise SweepError(gone(name))
        try:
            threads = int(sum(client.nthreads().values()))
        except (OSError, TimeoutError) as error:
            raise SweepError(gone(name)) from error
        return threads if jobs is None else min(jobs, threads)

    return count


def _look(out: str) -> tuple[dict[str, str], bool, int]:
    """On a worker: libraries, whether the directory is there, and how many cores there are."""
    return libraries(), Path(out).is_dir(), int(available_cores().amount)


def _check(client: "Client", address: str, out: Path) -> int:
    """Raise SweepError unless every worker can train; cores that a thread of a worker has at least."""
    found = client.run(_look, str(out), on_error="return")
    if not found:
        raise SweepError(
            f"the Dask scheduler at {address} has no workers; start some on machines that see {out}: dask "
            f"worker {address} --nthreads 1"
        )
    here, threads = libraries(), client.nthreads()
    shares: list[int] = []
    for worker, told in found.items():
        if isinstance(told, BaseException):
            raise SweepError(
                f"worker {worker} cannot train: {type(told).__name__}: {told}. Install there what is here: "
                f"{_INSTALL} in version {here['embevo']}."
            )
        installed, seen, cores = told
        if installed != here:
            raise SweepError(
                f"worker {worker} has {_named(installed)}; here are {_named(here)}. Other versions give "
                "other bits: install the same there, and start the workers again."
            )
        if not seen:
            raise SweepError(unseen(f"worker {worker}", out))
        shares.append(max(1, int(cores) // max(1, threads.get(worker, 1))))
    return min(shares)


def _named(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
