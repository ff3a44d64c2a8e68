"""The pace of the writer: seldom enough not to disturb, often enough for the ring, ahead of the captures."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo.recording.recorder import Recorder
from embevo.recording.writer import next_pause
from embevo.run.journal.ring import Journal

SHORTEST, LONGEST = 0.005, 0.25


@given(st.floats(SHORTEST, LONGEST), st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_pause_lasts_while_a_sixteenth_of_the_ring_fills(pause: float, rows: int, slots: int) -> None:
    found = next_pause(pause, rows, slots)
    assert SHORTEST <= found <= LONGEST
    # At the same rate, so many rows come in the next pause.
    expected = rows * found / pause
    assert found == SHORTEST or expected <= slots / 16 * 1.001
    assert found == LONGEST or rows == 0 or expected >= slots / 16 * 0.999


def test_a_small_ring_is_looked_at_often_and_a_large_one_seldom_where_steps_are_slow() -> None:
    assert next_pause(LONGEST, 1, 2) == LONGEST / 8
    assert next_pause(0.1, 1, 64) == LONGEST
    assert next_pause(SHORTEST, 0, 2) == SHORTEST
    assert next_pause(SHORTEST, 1, 1024) == LONGEST


def test_slots_are_made_ready_before_they_are_needed_and_only_free_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[tuple[int, int, int]] = []
    make = Journal.ready

    def noting(journal: Journal, row: int, rows: int) -> None:
        make(journal, row, rows)
        writer = recorders[0]._writer if recorders else None
        ready.append((row, row + rows, writer.released + journal.slots if writer else journal.slots))

    monkeypatch.setattr(Journal, "ready", noting)
    recorders: list[Recorder] = []
    weight = torch.zeros(8, 4)
    with Recorder(tmp_path / "run", {"embeddings": weight}, store="zarr", block_steps=40) as recorder:
        recorders.append(recorder)
        for step in range(200):
            recorder.capture(step)
            time.sleep(0.001)
    # The whole ring when it was made, and then row after row, each once and none of a slot still in use.
    (first, *later) = ready
    assert first[:2] == (0, 80)
    assert all(start < stop <= free for start, stop, free in later)
    assert all(one[1] <= other[0] for one, other in pairwise(later))
    covered = sum(min(stop, 200) - start for start, stop, _ in later if start < 200)
    assert covered > 100
