"""When the journal is synced, and what the recorder says would survive a power cut."""

import time
from pathlib import Path

import pytest
import torch

from embevo.recording.options import Durability
from embevo.recording.recorder import Recorder
from embevo.run.journal.ring import Journal
from embevo.run.writing import directory

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


def test_the_durable_step_is_read_before_its_slot_may_be_filled_again(
    tmp_path: Path, parameter: torch.nn.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of one step, the slot of the last sealed row is the next but one to be used."""
    recorder = Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=1, durability="power")
    writer = recorder._writer
    original = writer._sync
    seen: list[tuple[int, int | None]] = []

    def sync() -> None:
        sealed = writer._sealer.rows
        if sealed:
            # As slow as it takes: the training thread begins with the row that comes into the same slot.
            writer._journal.begin(sealed + 1)
            writer._journal.commit(sealed + 1, 999, (0.0, 0.0), seal=False)
            writer._journal.begin(sealed + 1)
        original()
        if sealed:
            seen.append((sealed, writer.durable_step))

    # Of this writer only. A class whose methods a thread is calling must not be given the old one back:
    # CPython 3.11 lets go of the new one, and may run that thread before it is told to look again.
    monkeypatch.setattr(writer, "_sync", sync)
    for step in range(5):
        recorder.capture(10 * step)
        recorder.flush()
        # The slot that is cleared there must not be in use here.
        while step + 1 not in [sealed for sealed, _ in seen]:
            time.sleep(0.001)
    recorder.close()
    assert [pair for pair in seen if pair[1] != 10 * (pair[0] - 1)] == []
    assert recorder.durable_step == 40
