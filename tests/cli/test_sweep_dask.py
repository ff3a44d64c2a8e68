"""Sweeps that are trained on the workers of a Dask cluster, and what a cluster can lack or lose."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, KilledWorker, LocalCluster
from embevo_cli import sweep_dask

from embevo.errors import SweepError
from embevo.experiment.grid import load_grid
from embevo.experiment.sweep import Sweep
from embevo.run.reading.summary import summarize
from support.interpreters import interpreter
from support.sweeps import (
    assert_as_if_alone,
    corpus_file,
    grid_file,
    halt,
    interrupted,
    last,
    pid_of,
    started,
    until,
)

Invoke = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    before = dict(os.environ)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def trains_at_once(client: Client) -> dict[str, int]:
    """Have trainings of the workers begin as forks of the tests' server; the workers' processes."""
    client.run(exec, f"import sys; sys.executable = {interpreter()!r}")
    return client.run(os.getpid)


def test_whatever_happens_to_the_cluster_a_sweep_ends_with_the_same_bits(
    tmp_path: Path, invoke: Invoke, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grid_file(tmp_path, {"init": ["qwen"]}, corpus=str(corpus_file(tmp_path)), steps=600)
    (run,), out = load_grid(grid), tmp_path / "out"
    path = out / run.name
    options = ("--dask", cluster.scheduler_address)
    with Client(cluster) as client:
        # A worker has a number of threads of its own, which is not that of the trainings.
        assert set(client.run(os.environ.get, "OMP_NUM_THREADS").values()) == {"1"}
        # kill -9 of the worker, and the training that finds itself without: another goes on.
        (worker, pid), *_ = trains_at_once(client).items()
        first = started(grid, out, *options, threads=2)
        halted = halt(path, first, at_step=5)
        os.kill(pid, signal.SIGKILL)
        until(lambda: bool({worker} ^ set(client.scheduler_info()["workers"])), first)
        client.wait_for_workers(1)
        trains_at_once(client)
        os.kill(halted, signal.SIGCONT)
        again = halt(path, first, at_step=last(path) + 5)
        assert again != halted
        # Ctrl-C.
        interrupted(first, out, [again])
        assert summarize(path).state == "complete", "not all is sealed"
        # The scheduler goes away.
        second = started(grid, out, *options, threads=2)
        halted = halt(path, second, at_step=last(path) + 5)
    cluster.close()
    os.kill(halted, signal.SIGCONT)
    _, said = second.communicate()
    assert second.returncode == 2, said.decode()
    assert f"the Dask cluster at {options[1]} has gone" in said.decode()
    while pid_of(path):
        time.sleep(0.03)
    assert [status.state for status in Sweep(out, [run]).statuses()] == ["interrupted"]
    # As the message says, the same command goes on; here, too.
    monkeypatch.setattr(sys, "executable", interpreter())
    assert invoke("sweep", grid, "--out", out, "--no-analyze").exit_code == 0
    assert_as_if_alone([run], out, tmp_path / "alone", threads=2)


def test_where_nothing_can_be_trained_is_said_and_nothing_is_begun(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_dask, "_ANSWER_SECONDS", 1)
    grid = grid_file(tmp_path, {"seed": [1]})
    nobody = invoke("sweep", grid, "--out", tmp_path / "out", "--dask", "tcp://127.0.0.1:1")
    assert nobody.exit_code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in nobody.output
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        nobody = invoke("sweep", grid, "--out", tmp_path / "out", "--dask", address)
    assert nobody.exit_code == 2
    assert f"answers at {address} (it takes the connection and says nothing)" in nobody.output
    with LocalCluster(
        n_workers=0, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        with (
            pytest.raises(SweepError, match="has no workers; start some"),
            sweep_dask.dask_workers(address, None, tmp_path),
        ):
            pass
        cluster.scale(1)
        with Client(cluster) as client:
            client.wait_for_workers(1)
        with (
            pytest.raises(SweepError, match=r"worker \S+ does not see .*gone, or sees another"),
            sweep_dask.dask_workers(address, None, tmp_path / "gone"),
        ):
            pass

        def look(out: str) -> None:
            raise ImportError("there is no embevo")

        with monkeypatch.context() as patched:
            patched.setattr(sweep_dask, "_look", look)
            with (
                pytest.raises(SweepError, match=r"worker \S+ cannot train: .*no embevo.* Install"),
                sweep_dask.dask_workers(address, None, tmp_path),
            ):
                pass
        # The worker is a thread of this process.
        here = threading.get_ident()
        monkeypatch.setattr(
            sweep_dask, "libraries", lambda: {"embevo": "0.0" if threading.get_ident() == here else "0.1"}
        )
        with (
            pytest.raises(SweepError, match=r"worker \S+ has embevo 0.1; here are embevo 0.0"),
            sweep_dask.dask_workers(address, None, tmp_path),
        ):
            pass


def test_each_thread_of_a_worker_trains_with_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        for jobs, at_once in ((None, 4), (3, 3), (9, 4)):
            # The workers are threads of this process, one on a larger machine than the other.
            cores = iter([9, 5])
            monkeypatch.setattr(
                sweep_dask, "available_cores", lambda cores=cores: SimpleNamespace(amount=next(cores))
            )
            with sweep_dask.dask_workers(cluster.scheduler_address, jobs, tmp_path) as workers:
                assert (workers.at_once(), workers.threads) == (at_once, 2)
                assert workers.died == (KilledWorker,)


@pytest.mark.parametrize("error", [None, OSError("closed"), TimeoutError("late")], ids=str)
def test_a_scheduler_whose_connection_was_lost_has_gone_also_where_it_comes_back(
    error: OSError | None,
) -> None:
    def nthreads() -> dict[str, int]:
        if error is not None:
            raise error
        return {"worker": 2}

    client = SimpleNamespace(status="running" if error else "connecting", nthreads=nthreads)
    with pytest.raises(SweepError, match=r"the cluster has gone.* the same command goes on"):
        sweep_dask._at_once(client, None, "the cluster")()
