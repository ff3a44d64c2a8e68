"""What effort does to a recording: to its bytes and its counts, and to nothing else."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import torch

from embevo import Recorder, open_run
from embevo.errors import ArgumentError
from embevo.recording.stats import RecorderStats
from embevo.run.format.effort import EFFORTS, Effort
from embevo.run.reading.summary import summarize
from embevo.run.repair.recovery import recover
from embevo.run.writing.effort_choice import EffortChoice
from support import encoded

SHAPE = (40, 16)


def record(path: Path, *, steps: int = 23, pause: float = 0.0, **options: Any) -> RecorderStats:
    """A run of numbers that change a little, in blocks of ten steps."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(SHAPE, generator=generator).to(torch.bfloat16)
    with Recorder(path, {"embeddings": matrix}, block_steps=10, **{"store": "zarr", **options}) as recorder:
        for step in range(steps):
            matrix += 0.01 * torch.randn(SHAPE, generator=generator).to(torch.bfloat16)
            recorder.capture(step)
            time.sleep(pause)
    return recorder.stats


def chunks_of(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted((path / "trajectory.zarr").rglob("c.*"))
    }


@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
def test_every_effort_records_the_same_and_the_same_bytes_each_time(tmp_path: Path, zarr_dtype: str) -> None:
    sizes = []
    read = []
    for effort in EFFORTS:
        stats = record(tmp_path / effort, effort=effort, zarr_dtype=zarr_dtype)
        record(tmp_path / f"{effort} again", effort=effort, zarr_dtype=zarr_dtype)
        assert stats.blocks == {**dict.fromkeys(EFFORTS, 0), effort: 3}
        assert stats.effort == effort
        assert summarize(tmp_path / effort).efforts == {effort: 1.0}
        files = chunks_of(tmp_path / effort)
        assert files == chunks_of(tmp_path / f"{effort} again")
        sizes.append(sum(map(len, files.values())))
        read.append(np.asarray(open_run(tmp_path / effort)["embeddings"][:]))
        # Whose own Blosc goes by the frames, too.
        where = {"driver": "file", "path": str(tmp_path / effort / "trajectory.zarr/embeddings")}
        opened = tensorstore.open({"driver": "zarr3", "kvstore": where}, read=True).result()
        found = np.asarray(opened.read().result(), np.float32)
        assert encoded.same_bits(found, read[-1].astype(np.float32))
    assert all(encoded.same_bits(values, read[0]) for values in read)
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_damaged_chunk_is_rebuilt_whatever_effort_it_was_made_with(tmp_path: Path, effort: Effort) -> None:
    record(tmp_path / "run", effort=effort, store="both")
    before = chunks_of(tmp_path / "run")
    for block in range(3):
        (tmp_path / "run/trajectory.zarr/embeddings" / f"c.{block}.0.0").write_bytes(b"damaged")
    assert len(recover(tmp_path / "run").rebuilt) == 3
    assert chunks_of(tmp_path / "run") == before


def test_a_run_is_resumed_with_another_effort(tmp_path: Path) -> None:
    record(tmp_path, effort="small")
    with Recorder(
        tmp_path, {"embeddings": torch.zeros(SHAPE, dtype=torch.bfloat16)}, resume=True, effort="none"
    ) as more:
        for step in range(100, 130):
            more.capture(step)
    # The short third block was made again.
    assert summarize(tmp_path).efforts == {"none": pytest.approx(4 / 6), "small": pytest.approx(2 / 6)}
    assert open_run(tmp_path)["embeddings"].shape == (53, *SHAPE)


def test_a_loop_that_waits_gets_small_blocks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose steps are made by a GPU: what recording takes of a core is little beside a step."""
    # Whether a core is idle here hangs on what else runs on the machine.
    monkeypatch.setattr("embevo.run.core_load.CoreLoad.look", lambda _self: 1.0)
    assert record(tmp_path, steps=30, pause=0.02).blocks == {"none": 0, "fast": 0, "small": 3}


def test_a_loop_that_waits_for_the_writer_gets_light_blocks(tmp_path: Path) -> None:
    """The writer is busy all the time: it does less, until training need not wait for it."""
    matrix = torch.empty(400, 400)
    light = {"none", "fast"}
    with Recorder(tmp_path, {"embeddings": matrix}, store="zarr", block_steps=10, budget=0.01) as recorder:
        # How idle cores are is known after some tenths of a second, and not after some steps.
        for step in range(5000):
            matrix[:] = torch.randn(1, 400)
            recorder.capture(step)
            if step % 10 == 0 and recorder.stats.effort in light:
                break
    assert recorder.stats.effort in light
    assert sum(recorder.stats.blocks.values()) == -(-(step + 1) // 10)


def test_a_short_block_is_not_filled_up_with_bytes_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "asked", steps=13, effort="none")
    monkeypatch.setattr(EffortChoice, "next", lambda *_: "none")
    assert record(tmp_path / "chosen", steps=13).blocks == {"none": 1, "fast": 1, "small": 0}
    assert record(tmp_path / "half", steps=15).blocks == {"none": 2, "fast": 0, "small": 0}
    asked, chosen = (chunks_of(tmp_path / run) for run in ("asked", "chosen"))
    whole, short = (f"trajectory.zarr/embeddings/c.{block}.0.0" for block in range(2))
    assert chosen[whole] == asked[whole]
    assert len(chosen[short]) < len(asked[short])
    read = (open_run(tmp_path / run)["embeddings"][:] for run in ("asked", "chosen"))
    np.testing.assert_array_equal(*read)


def test_the_choice_knows_what_captures_and_files_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, float]] = []
    choose = EffortChoice.next

    def listen(choice: EffortChoice, size: int, seconds: float, beside: float = 0.0) -> Effort:
        told.append((beside, choice.captures()))
        return choose(choice, size, seconds, beside)

    monkeypatch.setattr(EffortChoice, "next", listen)
    stats = record(tmp_path, steps=30, store="both")
    besides, captures = zip(*told, strict=True)
    assert len(told) == 3
    assert all(seconds > 0 for seconds in besides)
    assert 0 < captures[0] <= captures[1] <= captures[2]
    assert 30 * stats.capture_ns_p50 / 4 < 1e9 * captures[2] <= 30 * stats.capture_ns_max


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("effort", "most"),
        ("effort", None),
        ("budget", -0.1),
        ("budget", 1.5),
        ("budget", "2%"),
        ("budget", True),
    ],
)
def test_a_mistaken_effort_or_budget_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is"):
        record(tmp_path, **{name: value})
    assert not list(tmp_path.iterdir())
