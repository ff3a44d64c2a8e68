"""Measuring a run on the workers of a Dask cluster, each of which reads the run itself."""

import asyncio
import logging
import os
import pickle
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embevo.analysis.code_digest import measuring_digest
from embevo.analysis.measurement import Measurement, Stretch, outline_of
from embevo.analysis.measures.outline import Outline
from embevo.analysis.scheduler import client_at
from embevo.analysis.stretches import bounds_of, jobs_of, merged, single_threaded, stretch_of
from embevo.errors import AnalysisError, EmbevoError, MissingLibraryError
from embevo.run.reading.reader import Run

if TYPE_CHECKING:
    from distributed import Client

_LOOK_SECONDS: Final = 0.2
# How long a scheduler may take to answer.
_ANSWER_SECONDS: Final = 10
# How long a worker may take to be reached from here, where a firewall may say nothing at all.
_REACH_SECONDS: Final = 3
_INSTALL: Final = "pip install 'embevo[dask]'"
_LOCAL: Final = {
    # Numbers of threads among it: whatever is started while the cluster lives would compute with them.
    "distributed.nanny.pre-spawn-environ": {},
    # Watched for a dashboard that nobody looks at, on the cores that measure.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}


def measure_on(
    client: "Client",
    run: Run,
    name: str,
    on_rows: Callable[[int], None] | None = None,
    outline: Outline | None = None,
    *,
    on_walks: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Measure a matrix of a run on the workers of a cluster.

    Workers open the run by its path. What they send back are the numbers of their stretches, which are those
    of :func:`embevo.analysis.stretches.measure`, merged here in the same order: the result has the same bits
    where the workers' processors compute the same.

    Args:
        client: of the cluster.
        run: the run; each worker sees it at the same path.
        name: of the matrix.
        on_rows: called now and then with the number of rows that have been measured.
        outline: of the matrix; by default with what is usually asked of it.
        on_walks: called then, with how many steps of random walks were made here, and how many will be.

    Raises:
        AnalysisError: there is no worker, or one has another version, cannot read the run, or died.
        DamagedError: stored bytes are not what was written; the message names the worker.
    """
    opened = pickle.dumps(run)
    workers = _check_workers(client, run, opened)
    bounds = bounds_of(run, name)
    given = outline_of(run, name) if outline is None else outline
    # Sent with every stretch: what is scattered is lost with the worker that holds it.
    task = pickle.dumps((opened, name, given, measuring_digest()))
    direct = _all_reached(client, workers)
    whole = merged(_in_order(client, run, task, bounds, on_rows, direct=direct))
    with single_threaded():
        return whole.finish(jobs_of(None), on_walks)


def _in_order(
    client: "Client",
    run: Run,
    task: bytes,
    bounds: list[int],
    on_rows: Callable[[int], None] | None,
    *,
    direct: bool,
) -> Iterator[Stretch]:
    """The stretches in order, a few more begun than there are threads for them.

    Args:
        client: of the cluster.
        run: the run.
        task: what workers need to know.
        bounds: of the stretches.
        on_rows: called with the number of rows that have been measured.
        direct: whether stretches come from the workers themselves, which takes this process, that merges
            them, a quarter of the time that it takes by way of the scheduler.
    """
    from distributed import KilledWorker, wait  # noqa: PLC0415 - only who measures on a cluster needs it

    waiting = list(pairwise(bounds))
    running: list[tuple[int, int, Any]] = []
    threads = sum(client.nthreads().values())
    try:
        while waiting or running:
            while waiting and len(running) < threads + 2:
                start, stop = waiting.pop(0)
                running.append((start, stop, client.submit(_measure, task, start, stop, pure=False)))
            start, stop, future = running[0]
            while not future.done():
                try:
                    wait(future, timeout=_LOOK_SECONDS)
                except TimeoutError:
                    continue
            try:
                stretch = client.gather(future, direct=direct)
            except KilledWorker as error:
                raise AnalysisError(
                    f"{run.path}, {_steps(run, start, stop)}: worker {error.last_worker.address} and those "
                    "before it died while they measured it. Give workers more memory, or fewer threads each."
                ) from error
            running.pop(0)
            future.release()
            if on_rows is not None:
                on_rows(stop)
            yield stretch
    finally:
        client.cancel([future for *_, future in running])


def _measure(task: bytes, start: int, stop: int) -> Stretch:
    """On a worker: measure the rows from ``start`` to ``stop``."""
    from distributed import get_worker  # noqa: PLC0415

    opened, name, outline, measures = pickle.loads(task)  # noqa: S301 - of the client, as the function is
    where = f"worker {get_worker().address}"
    if measuring_digest() != measures:
        raise AnalysisError(f"{where} came later and measures otherwise: {_other_version()}")
    try:
        run = pickle.loads(opened)  # noqa: S301 - likewise
        with single_threaded():
            return stretch_of(run, name, outline, start, stop)
    except EmbevoError as error:
        steps = f"steps {outline.steps[start]} to {outline.steps[stop - 1]}"
        raise type(error)(f"{where}, {steps}: {error}") from error


def _look(opened: bytes) -> tuple[str, str, str, str]:
    """On a worker: what it measures with, and why it cannot read the run; empty if it can."""
    try:
        pickle.loads(opened)  # noqa: S301 - of the client, which may run anything here
    except (EmbevoError, OSError) as error:
        return version("embevo"), np.__version__, measuring_digest(), str(error)
    return version("embevo"), np.__version__, measuring_digest(), ""


def _all_reached(client: "Client", workers: Collection[str]) -> bool:
    """Whether all workers can be asked for what they have found without the scheduler between."""

    async def reach(worker: str) -> bool:
        try:
            # Its own limit is not kept where somebody takes the connection and then says nothing.
            connection = await asyncio.wait_for(client.rpc.connect(worker), _REACH_SECONDS)
        except (OSError, TimeoutError):
            return False
        client.rpc.reuse(worker, connection)
        return True

    async def reach_all() -> bool:
        return all(await asyncio.gather(*map(reach, workers)))

    return bool(client.sync(reach_all))


def _check_workers(client: "Client", run: Run, opened: bytes) -> list[str]:
    """The addresses of the workers; AnalysisError unless each of them has this version and sees the run."""
    found = client.run(_look, opened, on_error="return")
    if not found:
        scheduler = client.scheduler_info()["address"]
        raise AnalysisError(
            f"the Dask scheduler at {scheduler} has no workers; start some on machines that see {run.path}: "
            f"dask worker {scheduler}"
        )
    for worker, told in found.items():
        if isinstance(told, BaseException):
            raise AnalysisError(
                f"worker {worker} cannot measure: {type(told).__name__}: {told}. Install there what is here: "
                f"{_INSTALL} in version {version('embevo')}, and numpy {np.__version__}."
            )
        *installed, wrong = told
        if installed != [version("embevo"), np.__version__, measuring_digest()]:
            theirs = "embevo {} and numpy {} with the measures {}".format(*installed)
            raise AnalysisError(f"worker {worker} has {theirs}; {_other_version()}")
        if wrong:
            raise AnalysisError(
                f"worker {worker} does not read {run.path}: {wrong} Workers open a run by its path: mount "
                "its file system there at the same place, or start workers where it is."
            )
    return list(found)


def _other_version() -> str:
    return (
        f"here are embevo {version('embevo')} and numpy {np.__version__} with the measures "
        f"{measuring_digest()}. Install the same on all workers, and start them again."
    )


def _steps(run: Run, start: int, stop: int) -> str:
    return f"steps {run.steps[start]} to {run.steps[stop - 1]}"


@contextmanager
def _environment_kept() -> Iterator[None]:
    """What distributed sets for its workers, it sets in this process: that is gone afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def cluster(address: str, workers: int | None = None) -> Iterator["Client"]:
    """A client of a Dask cluster.

    Args:
        address: of its scheduler, or ``local`` for processes of this machine, which end with the body.
        workers: how many of these; by default one a core.

    Raises:
        AnalysisError: no scheduler answers there, or no process can be started here.
        MissingLibraryError: distributed is not installed.
    """
    try:
        import dask  # noqa: PLC0415
        from distributed import Client, LocalCluster  # noqa: PLC0415
    except ImportError as error:
        raise MissingLibraryError(f"Measuring on a Dask cluster needs distributed: {_INSTALL}") from error
    if address == "local":
        with _environment_kept():
            with dask.config.set(_LOCAL):
                try:
                    local = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        dashboard_address="127.0.0.1:0",
                        # Where cores are busy, they are told to end while they talk to the scheduler, and
                        # log the traceback of that; what matters is raised here.
                        silence_logs=logging.CRITICAL,
                    )
                except (RuntimeError, OSError, TimeoutError) as error:
                    raise AnalysisError(
                        f"no processes of this machine could be started for measuring: {error} "
                        f"{error.__cause__ or ''} Measure in this process, on its threads, without --dask."
                    ) from error
            with local, Client(local) as client:
                yield client
        return
    try:
        client = client_at(address, seconds=_ANSWER_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise AnalysisError(
            f"no Dask scheduler answers at {address} ({error}). Start one with `dask scheduler`, which says "
            "its address, or measure on processes of this machine: --dask local"
        ) from error
    with client:
        yield client
