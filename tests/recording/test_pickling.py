"""A run that is sent to another process, or copied, is opened again there."""

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embevo import Recorder, Run, open_run
from embevo.errors import RunReplacedError
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths
from embevo.run.repair.recovery import recover_locked
from embevo.run.repair.rewinding import rewind
from support import encoded
from support.captures import SHAPE, STEPS, capture, expected


def record(path: Path, steps: range, **options: Any) -> None:
    parameter = torch.nn.Parameter(torch.zeros(SHAPE))
    with Recorder(path, {"embeddings": parameter}, block_steps=STEPS, **options) as recorder:
        for step in steps:
            capture(recorder, parameter, step)


def through_pickle(run: Run) -> Run:
    found: Run = pickle.loads(pickle.dumps(run))
    return found


COPIES: list[Callable[[Run], Run]] = [copy.copy, copy.deepcopy, through_pickle]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_reads_the_same_bits(tmp_path: Path, copied: Callable[[Run], Run]) -> None:
    record(tmp_path / "run", range(10))
    run = open_run(tmp_path / "run")
    other = copied(run)
    assert other is not run
    assert other.steps.tolist() == list(range(10))
    assert encoded.same_bits(other["embeddings"][:], expected(list(range(10))))
    array = pickle.loads(pickle.dumps(run["embeddings"]))
    assert encoded.same_bits(array[3:5], expected([3, 4]))


def bits(run: Run) -> list[bytes]:
    return [matrix.tobytes() for matrix in run["embeddings"][:6]]


class Rows(torch.utils.data.Dataset[bytes]):
    def __init__(self, run: Run) -> None:
        self.run = run

    def __len__(self) -> int:
        return 6

    def __getitem__(self, row: int) -> bytes:
        return self.run["embeddings"][row].tobytes()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_run_is_read_in_other_processes_while_it_is_recorded(tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        # So that its children need not import them, each for itself.
        context.set_forkserver_preload(["torch", "embevo.recording.recorder"])
    parameter = torch.nn.Parameter(torch.zeros(SHAPE))
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        for step in range(6):
            capture(recorder, parameter, step)
        run = open_run(tmp_path / "run")
        wanted = bits(run)
        with context.Pool(1) as pool:
            assert pool.map(bits, [run, run]) == [wanted, wanted]
        loader = torch.utils.data.DataLoader(
            Rows(run), batch_size=None, num_workers=1, multiprocessing_context=context
        )
        assert list(loader) == wanted
        capture(recorder, parameter, 6)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(7))


def test_a_run_that_has_grown_is_the_same_run(tmp_path: Path) -> None:
    record(tmp_path / "run", range(3))
    sent = pickle.dumps(open_run(tmp_path / "run"))
    record(tmp_path / "run", range(3, 20), resume=True)
    assert pickle.loads(sent).steps.tolist() == list(range(20))


def replace(path: Path) -> None:
    record(path, range(100, 110), overwrite=True)


def record_anew_with_the_same_settings(path: Path) -> None:
    record(path, range(2), overwrite=True)


def shorten(path: Path) -> None:
    paths = RunPaths(path)
    lock = WriterLock(paths.lock)
    recover_locked(paths)
    rewind(paths, 2)
    lock.release()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace, "another run was recorded"),
        (record_anew_with_the_same_settings, "another run was recorded"),
        (shorten, "rewound"),
        (shutil.rmtree, "is gone"),
    ],
)
def test_a_run_that_is_another_one_now_is_not_taken_for_it(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    record(tmp_path / "run", range(10))
    sent = pickle.dumps(open_run(tmp_path / "run"))
    change(tmp_path / "run")
    with pytest.raises(RunReplacedError, match=said):
        pickle.loads(sent)
