"""A run that is measured on a Dask cluster of real processes, and what a cluster can lack."""

import asyncio
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from embevo.analysis import analyze
from embevo.analysis import distributed as ours
from embevo.analysis.scheduler import client_at
from embevo.errors import AnalysisError, ArgumentError, DamagedError
from embevo.run.reading.reader import open_run
from support import trajectories


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    before = environment()
    with ours.cluster("local", 2) as client:
        yield client
        assert {name: value for name, value in environment().items() if "THREADS" in name} == {
            name: value for name, value in before.items() if "THREADS" in name
        }
    # What distributed sets for its workers, also for those that replace one which died, would change what a
    # process computes that is started later.
    assert environment() == before


@pytest.fixture
def run(tmp_path: Path) -> Path:
    values = trajectories.brownian(800, 6, 4).astype(np.float32)
    values[:, 2] = np.where(np.arange(800)[:, None] % 9 < 5, values[:, 4], values[:, 2])
    return trajectories.record(tmp_path / "run", values, dead=[2, 4], block_steps=16)


def test_a_cluster_finds_what_one_process_finds(client: Client, run: Path) -> None:
    told: list[tuple[int, int]] = []
    here = analyze(run, keep=False, jobs=1)
    there = analyze(run, keep=False, client=client, on_rows=lambda *rows: told.append(rows))
    assert there.series.identical(here.series)
    assert there.to_json() == here.to_json()
    assert there.events == here.events
    assert told[-1] == (800, 800)
    assert there.series["event_count"].sum() > 0
    with pytest.raises(ArgumentError, match="give one"):
        analyze(run, client=client, jobs=2)


def scheduled(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is asked of the scheduler that workers have found."""
    asked: list[object] = []
    handlers = client.cluster.scheduler.handlers
    gather = handlers["gather"]

    async def counted(*, keys: object, **rest: object) -> object:
        asked.append(keys)
        return await gather(keys=keys, **rest)

    monkeypatch.setitem(handlers, "gather", counted)
    return asked


def test_what_workers_find_goes_through_the_scheduler_only_where_they_cannot_be_reached(
    client: Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = analyze(run, keep=False, jobs=1)
    asked = scheduled(client, monkeypatch)
    assert analyze(run, keep=False, client=client).series.identical(here.series)
    assert not asked
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # It takes the connection and says nothing.
        nobody = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(ours, "_REACH_SECONDS", 0.2)
        check = ours._check_workers
        monkeypatch.setattr(ours, "_check_workers", lambda *given: [*check(*given), nobody])
        assert analyze(run, keep=False, client=client).series.identical(here.series)
    assert asked


def test_the_error_of_a_worker_names_it_and_the_steps(client: Client, run: Path) -> None:
    (chunk,) = (run / "trajectory.zarr/embeddings").glob("c.48.*")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamagedError, match=r"worker tcp://127.0.0.1:\d+, steps 768 to 799: .*block 48"):
        analyze(run, client=client)


def test_a_worker_that_does_not_see_the_run_is_named(
    client: Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_run(run)
    run.rename(run.with_name("elsewhere"))
    with pytest.raises(AnalysisError, match=r"worker tcp://.* does not read .*/run: .*gone.*mount"):
        ours.measure_on(client, opened, "embeddings", outline=None)
    run.with_name("elsewhere").rename(run)
    monkeypatch.setattr(ours, "measuring_digest", lambda: "another")
    with pytest.raises(AnalysisError, match=r"worker tcp://.* has embevo .* measures another\. Install"):
        analyze(run, client=client)


def test_a_worker_that_lacks_what_measures_is_named(
    client: Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(opened: bytes) -> None:
        raise ImportError("there is no embevo")

    monkeypatch.setattr(ours, "_look", look)
    with pytest.raises(AnalysisError, match=r"worker tcp://\S+ cannot measure: .*no embevo.* Install"):
        analyze(run, client=client)


def test_a_worker_that_came_later_with_other_measures_is_refused(client: Client) -> None:
    task = pickle.dumps((b"", "embeddings", None, "another"))
    future = client.submit(ours._measure, task, 0, 4, pure=False)
    refused = future.exception()
    future.release()
    assert isinstance(refused, AnalysisError)
    assert re.search(r"worker tcp://\S+ came later and measures otherwise", str(refused))


def test_a_worker_that_dies_costs_its_stretch_only(client: Client, run: Path) -> None:
    pids = client.run(os.getpid)
    assert len(pids) == 2

    def kill_one(done: int, rows: int) -> None:
        if pids:
            os.kill(pids.popitem()[1], signal.SIGKILL)

    here = analyze(run, keep=False, jobs=1)
    with_death = analyze(run, keep=False, client=client, on_rows=kill_one)
    assert with_death.series.identical(here.series)


def test_a_stretch_that_kills_its_workers_is_named(
    client: Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = ours._measure

    def measured(task: bytes, start: int, stop: int) -> object:
        if start:
            os.kill(os.getpid(), 9)
        return measure(task, start, stop)

    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)
    monkeypatch.setattr(ours, "_measure", measured)
    with pytest.raises(
        AnalysisError, match=r"steps 256 to 511: worker tcp://\S+ and those .* died while they"
    ):
        analyze(run, keep=False, client=client)
    monkeypatch.undo()
    client.wait_for_workers(2)
    here, there = analyze(run, keep=False, jobs=1), analyze(run, keep=False, client=client)
    assert there.series.identical(here.series)


def test_what_stops_the_caller_leaves_the_cluster_as_it_was(client: Client, run: Path) -> None:
    def stop(done: int, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(run, keep=False, client=client, on_rows=stop)
    assert {future.status for future in client.futures.values()} <= {"cancelled"}
    here, there = analyze(run, keep=False, jobs=1), analyze(run, keep=False, client=client)
    assert there.series.identical(here.series)


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_ANSWER_SECONDS", 1)
    with (
        pytest.raises(AnalysisError, match=r"answers at tcp://127.0.0.1:1 .*dask scheduler"),
        ours.cluster("tcp://127.0.0.1:1"),
    ):
        raise AssertionError("there is a scheduler")


def test_an_address_where_somebody_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(AnalysisError, match=rf"answers at {address} \(it takes the .* says nothing\)\. S"),
            ours.cluster(address),
        ):
            raise AssertionError("there is a scheduler")


def command_on_processes(run: Path, preload: str) -> subprocess.CompletedProcess[str]:
    """The command, with workers that run some code when they begin."""
    return subprocess.run(
        [
            *(sys.executable, "-c", "from embevo_cli.main import main; main()"),
            *("analyze", str(run), "--dask", "local", "--jobs", "1"),
        ],
        env={**os.environ, "DASK_DISTRIBUTED__WORKER__PRELOAD": preload},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_measures_on_processes_of_this_machine(run: Path) -> None:
    """On a busy machine a worker is told to end while it speaks to the scheduler, and logs that."""
    done = command_on_processes(
        run,
        "import logging\n"
        "def dask_teardown(worker):\n"
        "    logging.getLogger('distributed.worker').error('Traceback of a heartbeat')\n",
    )
    assert done.returncode == 0, done.stderr
    assert "800 rows" in done.stdout
    assert "Traceback" not in done.stderr
    assert (run / "analysis.json").exists()


def test_processes_that_do_not_start_are_said_not_to(run: Path) -> None:
    done = command_on_processes(run, "raise RuntimeError('no such library')\n")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(r"no processes .* started for measuring: .*no such library", done.stderr)
    assert "without --dask" in done.stderr


def test_a_scheduler_is_asked_for_where_an_event_loop_runs_too() -> None:
    """As in a notebook."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"

    async def cell() -> None:
        with pytest.raises(OSError, match=nobody):
            client_at(nobody, seconds=1)

    asyncio.run(cell())
