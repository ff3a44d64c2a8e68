"""The recorder against a model: a dictionary of what was captured."""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embevo.errors import DivergedError, EmbevoError
from embevo.recording.recorder import Recorder
from embevo.run.reading.reader import Run, open_run
from support import encoded, tensors

SHAPE = (3, 4)


class RecorderModel(RuleBasedStateMachine):
    """Captures, flushes, closes and reopens; the run must hold what the model holds, whoever reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp()) / "run"
        self.captured: dict[int, np.ndarray[Any, Any]] = {}
        self.flushed = 0
        self.recorder: Recorder | None = None
        self.reader: Run | None = None

    @initialize(
        dtype=st.sampled_from(list(encoded.DTYPES)),
        store=st.sampled_from(["both", "zarr", "safetensors"]),
        zarr_dtype=st.sampled_from(["float32", "native"]),
        block_steps=st.integers(1, 5),
    )
    def start(self, dtype: str, store: Any, zarr_dtype: Any, block_steps: int) -> None:
        self.dtype = dtype
        self.parameter = torch.zeros(SHAPE, dtype=tensors.DTYPES[dtype])
        self.recorder = Recorder(
            self.path,
            {"embeddings": self.parameter},
            store=store,
            zarr_dtype=zarr_dtype,
            block_steps=block_steps,
        )

    def capture_one(self, step: int) -> None:
        assert self.recorder is not None
        self.parameter.copy_(tensors.matrix(step, SHAPE, self.dtype))
        self.recorder.capture(step, loss=encoded.loss_of(step))
        self.parameter.zero_()

    @precondition(lambda self: self.recorder is not None)
    @rule(gaps=st.lists(st.integers(1, 3), min_size=1, max_size=12))
    def capture(self, gaps: list[int]) -> None:
        for gap in gaps:
            step = max(self.captured, default=-1) + gap
            self.capture_one(step)
            self.captured[step] = encoded.matrix(step, SHAPE, self.dtype)

    @precondition(lambda self: self.recorder is not None and self.captured)
    @rule()
    def capture_a_step_again(self) -> None:
        assert self.recorder is not None
        with contextlib.suppress(EmbevoError):
            self.capture_one(max(self.captured))

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def flush(self) -> None:
        assert self.recorder is not None
        self.recorder.flush()
        self.flushed = len(self.captured)

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def close(self) -> None:
        assert self.recorder is not None
        self.recorder.close()
        self.recorder = None
        self.flushed = len(self.captured)

    @precondition(lambda self: self.recorder is None)
    @rule(repeated=st.integers(0, 6))
    def resume(self, repeated: int) -> None:
        self.recorder = Recorder(self.path, {"embeddings": self.parameter}, resume=True)
        for step in sorted(self.captured)[-repeated:] if repeated else []:
            self.capture_one(step)

    @precondition(lambda self: self.recorder is None and self.captured)
    @rule()
    def resume_with_other_values(self) -> None:
        recorder = Recorder(self.path, {"embeddings": self.parameter}, resume=True)
        self.parameter.fill_(1.5)
        try:
            with contextlib.suppress(DivergedError):
                recorder.capture(max(self.captured))
                raise AssertionError("other values were taken for the recorded ones")
        finally:
            recorder.close()

    @rule()
    def open_reader(self) -> None:
        if self.path.exists() and (self.path / "trajectory.zarr" / "zarr.json").exists():
            self.reader = open_run(self.path)

    @invariant()
    def everything_captured_can_be_read(self) -> None:
        if not (self.path / "trajectory.zarr" / "zarr.json").exists():
            return
        if self.reader is None:
            self.reader = open_run(self.path)
        self.reader.refresh()
        steps = sorted(self.captured)
        assert self.reader.steps.tolist() == steps
        values = np.stack([self.captured[step] for step in steps]) if steps else np.zeros((0, *SHAPE))
        for row, (step, image) in enumerate(self.reader.images(range(len(steps)))):
            assert step == steps[row]
            assert encoded.same_bits(self.reader.frame.matrix(image, "embeddings"), values[row])
        assert self.reader["loss"][:].tolist() == [encoded.loss_of(step) for step in steps]

    @invariant()
    def zarr_sees_a_prefix_that_holds_what_was_flushed(self) -> None:
        if not (self.path / "trajectory.zarr" / "zarr.json").exists():
            return
        seen = np.asarray(zarr.open_group(self.path / "trajectory.zarr", mode="r")["step"][:]).tolist()
        assert self.flushed <= len(seen)
        assert seen == sorted(self.captured)[: len(seen)]

    def teardown(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
        shutil.rmtree(self.path.parent)


TestRecorderModel = RecorderModel.TestCase
TestRecorderModel.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
