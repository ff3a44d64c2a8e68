"""What a plan says, against recordings that were made."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, block_steps_for
from embevo.run.journal.ring import Journal
from embevo.run.planning import Machine, Plan, warnings_of

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


@pytest.mark.parametrize("store", ["zarr", "safetensors"])
def test_measuring_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    plan = Plan.of(frame_of(), steps=10, steps_per_second=1, store=store)
    machine = Machine.measured(tmp_path / "not" / "there", plan, "float32")
    assert list(tmp_path.iterdir()) == []
    assert machine.write_rate
    assert machine.copy_rate
    assert (machine.encode_rate is None) == (store == "safetensors")
