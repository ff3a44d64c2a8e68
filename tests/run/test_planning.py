"""What a plan says, against recordings that were made."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.run import planning
from embevo.run.fits import loads_of, warnings_of, where_all_cores_are_busy
from embevo.run.format.effort import EFFORTS, AskedEffort, Effort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, block_steps_for
from embevo.run.journal.header import header_of, journal_bytes
from embevo.run.journal.ring import Journal
from embevo.run.limits import DiskRoom
from embevo.run.planning import Machine, Plan
from embevo.run.rates import Encoded
from embevo.run.writing.expected_effort import expected_effort
from support import trajectories, written

SCALARS = ("loss", "learning_rate")


def frame_of(shape: tuple[int, int] = (128, 64), **dtypes: str) -> FrameSpec:
    return FrameSpec.of(
        {name: (dtype, shape) for name, dtype in (dtypes or {"w": "bfloat16"}).items()}, SCALARS
    )


def test_the_ring_is_as_large_as_it_says(tmp_path: Path) -> None:
    frame = frame_of((64, 32), w="bfloat16", exp_avg="float32")
    plan = Plan.of(frame, steps=100, steps_per_second=1)
    journal = Journal.create(tmp_path / "journal", frame, 2 * plan.block_steps)
    # The real header also names the run and the boot.
    assert abs(journal.size - plan.ring_bytes) <= 4096
    journal.close()


@pytest.mark.parametrize("store", ["zarr", "safetensors", "both"])
@given(steps=st.integers(1, 10**6), every=st.integers(1, 50))
def test_bytes_are_those_of_the_files(store: Store, steps: int, every: int) -> None:
    plan = Plan.of(frame_of(), steps=steps, steps_per_second=30, every=every, store=store)
    # The last step is recorded too, as embevo train does.
    assert plan.rows == len({*range(0, steps + 1, every), steps})
    assert plan.raw_bytes == plan.rows * frame_of().image_bytes
    assert plan.snapshot_bytes == (0 if store == "zarr" else plan.raw_bytes)
    least, most = plan.zarr_bytes
    assert (least, most) == (0, 0) if store == "safetensors" else 0 < least < most < plan.raw_bytes
    assert plan.disk_bytes == plan.snapshot_bytes + most + plan.ring_bytes


def test_a_recording_that_changes_a_little_everywhere_is_within_the_expected_size() -> None:
    """Of few steps a block, every element of every row moving: the most that is expected."""
    frame = frame_of((3000, 1024))
    plan = Plan.of(frame, steps=9, steps_per_second=1)
    block = block_steps_for(frame, "float32")
    assert block < 100
    rng = np.random.default_rng(0)
    start = rng.normal(0, 0.02, frame.shape).astype(np.float32)
    values = np.stack([start + step * rng.normal(0, 1e-4, frame.shape) for step in range(block)])
    layout = Layout.new(
        frame, block_steps=block, store="zarr", zarr_dtype="float32", has_token_count=False, attributes={}
    )
    recorded = values.astype(frame.dtype("w"))
    files = layout.block(0, np.arange(block), np.zeros((block, 2)), {"w": recorded})
    stored = sum(len(data) for name, data in files.items() if name.startswith("w/")) * plan.rows / block
    least, most = plan.zarr_bytes
    assert least <= stored <= most


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [((64, 32), "bfloat16", 150), ((1, 1), "float32", 51), ((7, 3), "float16", 1200)],
)
def test_a_short_or_tiny_recording_is_within_the_expected_size(
    tmp_path: Path, shape: tuple[int, int], dtype: str, rows: int, effort: Effort
) -> None:
    """Values that move as in the first steps of a training, and metadata that weighs as much as they."""
    plan = Plan.of(
        frame_of(shape, embeddings=dtype), steps=rows - 1, steps_per_second=1, store="zarr", effort=effort
    )
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.02, shape) + rng.normal(0, 1e-4, (rows, *shape)).cumsum(0)
    recorded = values.astype(plan.frame.dtype("embeddings"))
    path = trajectories.record(tmp_path / "run", recorded, block_steps=plan.block_steps, effort=effort)
    stored = sum(file.stat().st_size for file in (path / "trajectory.zarr").rglob("*") if file.is_file())
    least, most = plan.zarr_bytes
    assert least <= stored <= most
    assert most < 1.5 * stored or effort != "none"
    # Where the effort is chosen, a short block is made with LZ4, and those before are stored as they are.
    chosen = Plan.of(frame_of(shape, embeddings=dtype), steps=rows - 1, steps_per_second=1, store="zarr")
    assert stored <= chosen.uncompressed_bytes or effort == "none"


@pytest.mark.parametrize("effort", ["fast", "small"])
def test_an_effort_that_does_not_keep_up_is_named(effort: AskedEffort) -> None:
    plan = Plan.of(frame_of(), steps=100_000, steps_per_second=30, store="zarr", effort=effort)
    assert plan.uncompressed_bytes == 0
    machine = Machine(plan.disk_bytes, plan.memory_bytes, encode_rate=plan.capture_rate - 1)
    (warning,) = warnings_of(plan, machine)
    assert f"manage 0.000494 GB with effort {effort}. Leave the effort to be chosen" in warning
    assert where_all_cores_are_busy(plan, machine) == ""


def test_a_run_that_fits_only_when_it_is_compressed_is_said_to() -> None:
    plan = Plan.of(frame_of(), steps=100_000, steps_per_second=30, store="zarr")
    there_is = Machine(plan.disk_bytes, plan.memory_bytes)
    assert warnings_of(plan, there_is) == []
    assert "leaves no core to compress" in where_all_cores_are_busy(plan, there_is)
    enough = Machine(plan.ring_bytes + plan.uncompressed_bytes, plan.memory_bytes)
    assert where_all_cores_are_busy(plan, enough) == ""


def test_where_no_run_can_be_made_none_fits(tmp_path: Path) -> None:
    plan = Plan.of(frame_of((4, 4)), steps=10, steps_per_second=1)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        for machine in (Machine.here(out), Machine.measured(out, plan, "float32")):
            (refused,) = warnings_of(plan, machine)
            assert f"{tmp_path / 'file'} is not a directory" in refused


def test_where_there_is_no_room_to_measure_in_the_rest_is_said(tmp_path: Path) -> None:
    plan = Plan.of(frame_of((4, 4)), steps=10, steps_per_second=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        machine = Machine.measured(tmp_path, plan, "float32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert machine.write_rate is None
    assert machine.encode_rate
    assert warnings_of(plan, machine) == []


def test_what_does_not_fit_is_said() -> None:
    plan = Plan.of(frame_of((151_936, 2560)), steps=1000, steps_per_second=2, store="both")
    plenty = Machine(plan.disk_bytes, plan.memory_bytes, 1e12, plan.capture_rate, plan.disk_rate)
    assert warnings_of(plan, plenty) == []
    for short, word in (
        (Machine(plan.disk_bytes - 1, plan.memory_bytes), "the disk has"),
        (Machine(plan.disk_bytes, plan.memory_bytes - 1), "of memory"),
        (Machine(plan.disk_bytes, plan.memory_bytes, write_rate=plan.disk_rate - 1), "have to take"),
        (Machine(plan.disk_bytes, plan.memory_bytes, encode_rate=plan.capture_rate - 1), "compressed"),
    ):
        (warning,) = warnings_of(plan, short)
        assert word in warning


@given(shape=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), share=st.floats(0.01, 0.99))
def test_what_is_advised_against_too_large_a_ring_helps(shape: tuple[int, int], share: float) -> None:
    plan = Plan.of(frame_of(shape), steps=10**7, steps_per_second=1, store="zarr")
    room = DiskRoom(10**18, None, 1, None, in_memory=False)
    memory, disk, longest = (
        int(share * size) for size in (plan.memory_bytes, plan.ring_bytes, plan.ring_bytes)
    )
    frame, smallest = plan.frame, 0
    for found, there_is, more in (
        (warnings_of(plan, Machine(10**18, memory, disk=room)), memory, frame.image_bytes + (16 << 20)),
        (warnings_of(plan, Machine(disk, 10**18, disk=room)), disk, 0),
        (warnings_of(plan, Machine(10**18, 10**18, disk=replace(room, file_bytes=longest))), longest, 0),
    ):
        (warning,) = found
        smallest = journal_bytes(header_of(frame, 2, run="", boot="", host=""), frame, 2)
        if "smaller block_steps" in warning:
            assert plan.block_steps > 1
            assert smallest + more <= there_is
        else:
            assert "Record fewer rows" in warning
            assert plan.block_steps == 1 or smallest + frame.image_bytes + (16 << 20) > 0.9 * there_is


@pytest.mark.parametrize(("effort", "made_with"), [("auto", "none"), ("none", "none"), ("small", "small")])
def test_blocks_are_timed_with_the_effort_that_they_are_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: AskedEffort, made_with: Effort
) -> None:
    found = {name: Encoded(rate, 1 / rate) for name, rate in zip(EFFORTS, (300.0, 200.0, 100.0), strict=True)}
    monkeypatch.setattr(planning, "encoding", lambda *_: found)
    plan = Plan.of(frame_of((4, 4)), steps=10, steps_per_second=1, effort=effort)
    assert Machine.measured(tmp_path, plan, "float32").encode_rate == found[made_with].rate


@pytest.mark.parametrize("store", ["zarr", "safetensors"])
def test_measuring_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    plan = Plan.of(frame_of(), steps=10, steps_per_second=1, store=store)
    machine = Machine.measured(tmp_path / "not" / "there", plan, "float32")
    assert list(tmp_path.iterdir()) == []
    assert machine.write_rate
    assert machine.copy_rate
    assert (machine.encode_rate is None) == (store == "safetensors")


@pytest.mark.parametrize("store", ["zarr", "safetensors", "both"])
@pytest.mark.parametrize("shape", [(128, 64), (700, 256)])
def test_as_many_files_and_blocks_as_a_recording_takes(
    tmp_path: Path, store: Store, shape: tuple[int, int]
) -> None:
    frame = frame_of(shape, embeddings="float32")
    plan = Plan.of(frame, steps=210, steps_per_second=1, store=store)
    run = written.write_run(
        tmp_path / "run",
        rows=plan.rows,
        sealed=plan.rows,
        frame=frame,
        store=store,
        block_steps=plan.block_steps,
        token_count=np.ones(shape[0], np.int64),
    ).path
    there = [run, *run.rglob("*")]
    # What is there only for a moment, or only for some runs, is a handful.
    assert len(there) <= plan.files <= len(there) + 16
    block = os.statvfs(run).f_frsize
    if plan.snapshot_bytes:
        taken = sum(-(-path.stat().st_size // block) * block for path in (run / "snapshots").iterdir())
        assert taken <= plan.disk_bytes_in(block) - plan.disk_bytes + plan.snapshot_bytes


def test_too_few_inodes_too_long_a_file_and_a_disk_in_memory_are_said() -> None:
    plan = Plan.of(frame_of(), steps=1000, steps_per_second=30)
    room = DiskRoom(1 << 40, plan.files, 1, None, in_memory=False)
    plenty = Machine(1 << 40, 1 << 40, disk=room)
    assert warnings_of(plan, plenty) == []
    (few,) = warnings_of(plan, replace(plenty, disk=replace(room, free_files=plan.files - 1)))
    assert f"takes {plan.files:,} files; the file system has {plan.files - 1:,} left" in few
    assert warnings_of(plan, replace(plenty, disk=replace(room, free_files=None))) == []
    (long,) = warnings_of(plan, replace(plenty, disk=replace(room, file_bytes=plan.ring_bytes - 1)))
    assert "ulimit -f" in long
    on_tmpfs = replace(plenty, memory=plan.memory_bytes + 1, disk=replace(room, in_memory=True))
    (memory,) = warnings_of(plan, on_tmpfs)
    assert "a run on a disk in memory" in memory
    assert memory.endswith("Choose a directory on a disk.")
    (blocks,) = warnings_of(
        plan, replace(plenty, free_disk=plan.disk_bytes, disk=replace(room, block_bytes=4096))
    )
    assert "of it the ring" in blocks


def test_the_tightest_of_the_means_is_what_would_give_way_first() -> None:
    frame = FrameSpec.of({"embeddings": ("float32", (128, 64))}, ())
    plan = Plan.of(frame, steps=1000, steps_per_second=100)
    roomy = Machine(10**15, 10**12, copy_rate=1e15, encode_rate=1e15, write_rate=1e15)
    for name, tight in (
        ("cores", replace(roomy, encode_rate=plan.capture_rate * 1.25)),
        ("disk", replace(roomy, write_rate=plan.disk_rate * 1.25)),
        ("memory copies", replace(roomy, copy_rate=plan.capture_rate * 1.25)),
        ("memory", replace(roomy, memory=int(plan.memory_bytes * 1.25))),
    ):
        loads = loads_of(plan, tight)
        assert max(loads, key=loads.__getitem__) == name
        assert loads[name] == pytest.approx(0.8, rel=1e-3)


def test_the_expected_effort_is_that_of_the_policy() -> None:
    cost: dict[Effort, float] = {"none": 1e-10, "fast": 1e-9, "small": 1e-8}
    # A block of 100 MB in ten seconds: 1, 10 and 100 thousandths of a core.
    assert expected_effort(cost, 10**8, 10.0, 1.0).effort == "small"
    assert expected_effort(cost, 10**8, 10.0, 0.0).effort == "fast"
    assert expected_effort(cost, 10**8, 0.5, 0.0).effort == "none"
    assert expected_effort(cost, 10**8, 10.0, 0.0, budget=0.2).effort == "small"
    assert expected_effort(cost, 10**8, 0.5, 0.0, asked="small").effort == "small"


def test_what_recording_takes_of_the_loop_is_what_no_idle_core_pays_for() -> None:
    cost: dict[Effort, float] = {"none": 1e-10, "fast": 1e-9, "small": 1e-8}
    # Of ten seconds captures take 0.5, blocks one and files 0.5.
    with_all = {"asked": "small", "captures": 0.5, "beside": 0.5}
    assert expected_effort(cost, 10**8, 10.0, 0.0, **with_all).share == pytest.approx(0.2)
    assert expected_effort(cost, 10**8, 10.0, 1.0, **with_all).share == pytest.approx(0.05)
    assert expected_effort(cost, 10**8, 10.0, 0.5, **with_all).share == pytest.approx(0.05 + 0.15 / 2)
    assert expected_effort(cost, 10**8, 10.0, 0.0, asked="fast").share == pytest.approx(0.01)


def test_the_expected_effort_is_of_what_captures_and_files_leave() -> None:
    cost: dict[Effort, float] = {"none": 1e-10, "fast": 1e-9, "small": 1e-8}
    # Of a budget of two seconds a small block takes one.
    assert expected_effort(cost, 10**8, 10.0, 0.0, budget=0.2, captures=0.9).effort == "small"
    assert expected_effort(cost, 10**8, 10.0, 0.0, budget=0.2, captures=1.1).effort == "fast"
    assert expected_effort(cost, 10**8, 10.0, 0.0, budget=0.11).effort == "small"
    assert expected_effort(cost, 10**8, 10.0, 0.0, budget=0.11, beside=0.3).effort == "fast"
    assert expected_effort(cost, 10**8, 10.0, 1.0, budget=0.2, captures=1.1, beside=1.3).effort == "small"


def test_making_a_file_is_timed_where_the_run_has_files(tmp_path: Path) -> None:
    frame = FrameSpec.of({"embeddings": ("float32", (128, 64))}, ())
    for store, timed in (("both", True), ("zarr", False)):
        plan = Plan.of(frame, steps=1000, steps_per_second=100, store=store)
        seconds = Machine.measured(tmp_path / "run", plan, "float32").file_seconds
        assert (seconds is not None and seconds > 0) == timed
    assert not list(tmp_path.iterdir())
