"""One attempt to train a run: what its process is given, and what keeps whoever takes the order from it."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from embevo import open_run
from embevo.experiment.attempt import Ended, Order, attempt, libraries, numeric_environment
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.grid import GridRun
from embevo.experiment.session import Leash, Session
from embevo.experiment.sweep import Sweep
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths
from support import written

# Says what it was called with, and does what the name of the run's directory says.
PROGRAM = """#!{python}
import json, os, signal, sys
path = sys.argv[-1]
told = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
print(json.dumps(told), flush=True)
if path.endswith("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
if path.endswith("slow"):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    open(path + ".begun", "w").close()
    signal.pause()
"""


@pytest.fixture
def order(tmp_path: Path) -> Order:
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(python=os.path.realpath("/proc/self/exe")))
    program.chmod(0o755)
    return Order(
        path=str(tmp_path / "run"),
        settings=str(tmp_path / "run.toml"),
        log=str(tmp_path / "run.log"),
        session=str(Session(tmp_path / "sweep").file),
        folder=str(tmp_path),
        threads=3,
        numeric={"MKL_CBWR": "AVX2"},
        libraries=libraries(),
        python=str(program),
        tied=True,
    )


def test_its_process_computes_as_that_of_the_sweep_would(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a worker of Dask has them, and as a site may.
    for name, value in (("OMP_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1"), ("OMP_DYNAMIC", "true")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBEVO_JOURNAL_DIR", "/scratch")
    assert attempt(order).code == 0
    told = json.loads(Path(order.log).read_text())
    environment = told["environment"]
    assert numeric_environment(environment) == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_CBWR": "AVX2",
    }
    assert environment["EMBEVO_JOURNAL_DIR"] == "/scratch"
    assert told["folder"] == order.folder
    assert told["arguments"][2:] == [
        *("train", "--while", order.session, "--while-process", str(os.getpid())),
        *("--config", order.settings, "--out", order.path),
    ]


def test_a_run_that_is_there_is_resumed_and_one_that_is_written_is_left_alone(order: Order) -> None:
    paths = RunPaths(order.path)
    paths.root.mkdir()
    paths.manifest.write_bytes(b"")
    assert attempt(replace(order, tied=False)).code == 0
    assert json.loads(Path(order.log).read_text())["arguments"][3:] == [
        *("--while", order.session, "--resume", order.path)
    ]
    lock = WriterLock(paths.lock)
    assert attempt(order) == Ended(os.uname().nodename)
    lock.release()


def test_a_run_that_was_on_its_way_into_its_place_is_put_there_and_resumed(
    order: Order, tmp_path: Path
) -> None:
    paths = RunPaths(order.path)
    made = written.write_run(paths.root, rows=5, sealed=4, config={})
    made.journal.close()
    paths.incoming.mkdir()
    for part in (paths.trajectory, paths.snapshots, paths.journal, paths.manifest):
        if part.exists():
            part.rename(paths.incoming / part.name)
    sweep = Sweep(tmp_path, [GridRun("run", {}, ExperimentConfig())])
    assert sweep.status(sweep.runs[0]).state == "interrupted"
    lock = WriterLock(paths.lock)
    assert sweep.status(sweep.runs[0]).state == "recording"
    lock.release()
    assert attempt(order).code == 0
    assert "--resume" in json.loads(Path(order.log).read_text())["arguments"]
    assert open_run(order.path).steps.tolist() == [0, 1, 2, 3, 4]


def test_what_kills_it_is_told(order: Order) -> None:
    assert attempt(replace(order, path=f"{order.path}-killed")).code == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_what_tells_a_job_to_end_tells_the_training(order: Order, number: int) -> None:
    slow = replace(order, path=f"{order.path}-slow")

    def tell() -> None:
        while not Path(f"{slow.path}.begun").exists():
            pass
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    teller = threading.Thread(target=tell)
    teller.start()
    assert attempt(slow).code == 143
    teller.join()
    assert signal.getsignal(number) == before


def test_who_cannot_train_says_why(order: Order, tmp_path: Path) -> None:
    other = attempt(replace(order, libraries={**libraries(), "torch": "1.0", "numpy": "1.1"}))
    assert f"has torch {libraries()['torch']}, numpy" in other.refused
    assert "the sweep torch 1.0, numpy 1.1" in other.refused
    assert attempt(replace(order, session=str(tmp_path / "elsewhere/session"))).unseen
    assert not Path(order.log).exists()


def test_a_training_ends_with_what_it_is_done_for(tmp_path: Path) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        session = Session(tmp_path)
        leash = Leash(session.file, os.getpid())
        leash.look()
        assert told == []
        # Another sweep, begun later, ends this one too: it was killed.
        Session(tmp_path).end()
        assert leash.is_gone
        Leash(session.file).look()
        assert told == [signal.SIGTERM]
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        assert Leash(Session(tmp_path).file, child).is_gone
    finally:
        signal.signal(signal.SIGTERM, before)
