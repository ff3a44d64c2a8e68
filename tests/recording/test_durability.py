"""When the journal is synced, and what the recorder says would survive a power cut."""

import time
from pathlib import Path

import pytest
import torch

from embevo.recording.recorder import Durability, Recorder
from embevo.run import directory
from embevo.run.journal import Journal

NEVER = 1e9


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The journals that were synced."""
    seen: list[Path] = []
    original = Journal.sync

    def sync(journal: Journal) -> None:
        seen.append(journal.path)
        original(journal)

    monkeypatch.setattr(Journal, "sync", sync)
    return seen


def recorder(
    path: Path, durability: Durability = "power", *, seconds: float = NEVER, steps: int | None = None
) -> Recorder:
    return Recorder(
        path,
        {"embeddings": torch.zeros(3, 2)},
        durability=durability,
        sync_seconds=seconds,
        sync_steps=steps,
        block_steps=16,
    )


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, None), (NEVER, 1)])
def test_what_waits_is_synced_in_time_or_when_enough_waits(
    tmp_path: Path, syncs: list[Path], seconds: float, steps: int | None
) -> None:
    with recorder(tmp_path / "run", seconds=seconds, steps=steps) as made:
        assert made.durable_step is None
        for step in range(5):
            made.capture(10 * step)
        while made.durable_step != 40:
            time.sleep(0.001)
        assert syncs


def test_fewer_steps_than_asked_for_wait(tmp_path: Path, syncs: list[Path]) -> None:
    with recorder(tmp_path / "run", steps=6) as made:
        for step in range(5):
            made.capture(step)
        made.flush()
        # Sealing made them durable, not a sync of the ring.
        while made.durable_step != 4:
            time.sleep(0.001)
        for step in range(5, 10):
            made.capture(step)
    assert syncs == []
    assert made.durable_step == 9


def test_without_durability_power_nothing_is_said_to_be_durable(tmp_path: Path, syncs: list[Path]) -> None:
    with recorder(tmp_path / "run", "process", seconds=0.0, steps=1) as made:
        made.capture(0)
        made.flush()
    assert made.durable_step is None
    assert syncs == []


def test_a_run_that_goes_on_with_power_is_synced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorder(tmp_path / "run", "process") as made:
        for step in range(20):
            made.capture(step)
    synced: list[Path] = []
    monkeypatch.setattr(directory, "sync_file", synced.append)
    matrices = {"embeddings": torch.zeros(3, 2)}
    with Recorder(tmp_path / "run", matrices, resume=True, durability="power"):
        there = {path for path in (tmp_path / "run").rglob("*") if path.name != "writer.lock"}
    assert there | {tmp_path / "run"} == set(synced)
    synced.clear()
    with Recorder(tmp_path / "run", matrices, resume=True):
        assert synced == []
