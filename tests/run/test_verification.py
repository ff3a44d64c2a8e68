"""verify(): what should be there, what is there, and what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from embevo.errors import NotARunError
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.journal.ring import Journal
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import written
from support.saved import write_folder


def test_a_whole_run_is_as_it_was_written(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=11, sealed=11, token_count=np.arange(5))
    run.journal.close()
    (run.path / "journal").unlink()
    found = verify(run.path, deep=True)
    assert found.ok
    assert (len(found.steps), found.compared_steps, found.tail_rows) == (11, 11, 0)
    assert found.missing == []
    # Three blocks of three arrays, two constant arrays, six pieces of metadata, eleven snapshots.
    assert found.checked_files == 3 * 4 + 2 + 7 + 11
    assert verify(run.path).compared_steps == 10


def test_rows_in_the_journal_are_read_and_noted(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=11, sealed=8)
    run.journal.close()
    found = verify(run.path)
    assert found.ok
    assert found.tail_rows == 3
    assert "3 steps are in the journal only" in found.notes[0]


@pytest.mark.parametrize(
    ("every", "experiment", "missing", "expected"),
    [
        (1, {"last_step": 10, "every": 1}, [], 11),
        (1, {"last_step": 13, "every": 1}, [[11, 13, 1]], 14),
        (2, {"last_step": 20, "every": 2}, [], 11),
        (2, {"last_step": 21, "every": 2}, [[21, 21, 1]], 12),
        (2, {"last_step": 20, "every": 1}, [[step, step, 1] for step in range(1, 20, 2)], 21),
        (2, {"last_step": 10**15, "every": 2}, [[22, 10**15, 2]], 5 * 10**14 + 1),
        # What a program of somebody else's calls its settings promises nothing.
        (1, {}, [], None),
    ],
)
def test_expected_steps(
    tmp_path: Path, every: int, experiment: dict[str, int], missing: list[list[int]], expected: int | None
) -> None:
    config = {"steps": 10**6, "every": 3, "seed": 1, "init": "normal"}
    run = written.write_run(
        tmp_path / "run", rows=11, sealed=11, every=every, config=config, experiment=experiment
    )
    run.journal.close()
    (run.path / "journal").unlink()
    found = verify(run.path)
    assert found.missing == missing
    assert found.expected == expected
    assert found.ok == (not missing)


def test_gaps_without_a_configuration_are_no_problem(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=8)
    with_gap = Journal.create(run.path / "journal", run.frame, 8)
    written.put(with_gap, 8, 10**12)
    with_gap.close()
    found = verify(run.path)
    assert found.ok
    assert found.missing == [[8, 10**12 - 1, 1]]


def test_strangers_and_litter_are_named(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=8)
    run.journal.close()
    (run.path / "journal").unlink()
    (run.path / "trajectory.zarr" / "embeddings" / "c.9.0.0").write_bytes(b"?")
    (run.path / "snapshots" / "step_0000099.safetensors").write_bytes(b"?")
    (run.path / "snapshots" / "step_0000007.safetensors.partial").write_bytes(b"?")
    assert sorted(problem.file for problem in verify(run.path).problems) == [
        "snapshots/step_0000007.safetensors.partial",
        "snapshots/step_0000099.safetensors",
        "trajectory.zarr/embeddings/c.9.0.0",
    ]


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="no such directory"):
        verify(tmp_path / "nothing")


def test_an_import_that_was_cut_short_lacks_the_rest_of_its_folder(tmp_path: Path) -> None:
    folder = inspect_folder(write_folder(tmp_path / "folder", [0, 10, 20, 25, 30]))

    def stop(step: int) -> None:
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_snapshots(folder, tmp_path / "run", on_step=stop)
    recover(tmp_path / "run")
    found = verify(tmp_path / "run")
    assert found.expected == 5
    assert found.missing == [[25, 30, 5]]
    assert not found.ok
    import_snapshots(folder, tmp_path / "run", overwrite=True)
    assert verify(tmp_path / "run").ok
