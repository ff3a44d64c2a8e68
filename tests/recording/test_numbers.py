"""Steps and scalars as training loops have them: taken by value, or refused by name, and never fatal."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, RecordingWarning
from embevo.recording.numbers import LAST_STEP, number_of, step_of
from support.captures import STEPS

STEP_KINDS: dict[str, Callable[[int], Any]] = {
    "int": int,
    "whole float": float,
    "numpy int64": np.int64,
    "numpy uint8": np.uint8,
    "numpy float64": np.float64,
    "numpy array": lambda step: np.array([step]),
    "tensor": torch.tensor,
    "int32 tensor": lambda step: torch.tensor([step], dtype=torch.int32),
    "float tensor": lambda step: torch.tensor(float(step)),
}
NO_STEPS = [
    True,
    np.True_,
    torch.tensor(True),
    math.nan,
    math.inf,
    0.5,
    -1,
    -1.0,
    np.int64(-3),
    "7",
    b"7",
    None,
    [7],
    (7,),
    {},
    object(),
    1j,
    torch.tensor([1, 2]),
    torch.tensor(0.5),
    torch.zeros(0),
    torch.zeros(1, device="meta"),
    np.array([1, 2]),
    LAST_STEP + 1,
    2**63 - 1,
    2**63,
    10**30,
    1e300,
]


@pytest.mark.parametrize("kind", list(STEP_KINDS))
def test_steps_of_every_kind_are_recorded(tmp_path: Path, parameter: torch.nn.Parameter, kind: str) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        for step in (0, 1, 5, 6, 100):
            recorder.capture(STEP_KINDS[kind](step))
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 5, 6, 100]


@pytest.mark.parametrize("make", [torch.tensor, np.array], ids=["tensor", "array"])
def test_a_counter_that_is_changed_in_place_is_taken_by_value(
    tmp_path: Path, parameter: torch.nn.Parameter, make: Callable[[int], Any]
) -> None:
    counter = make(0)
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        for _ in range(6):
            recorder.capture(counter)
            counter += 1
    assert open_run(tmp_path / "run").steps.tolist() == list(range(6))


def test_what_is_no_step_is_refused_by_name_and_nothing_is_lost(
    tmp_path: Path, parameter: torch.nn.Parameter
) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        recorder.capture(0)
        # All come after step 0, so that none would be refused for its place.
        for step in NO_STEPS:
            with pytest.raises(ArgumentError, match=r"^step ") as refused:
                recorder.capture(step)
            assert repr(step).split("(")[0][:20] in str(refused.value) or str(int(step)) in str(refused.value)
        recorder.capture(1)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1]


def test_the_largest_step(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=STEPS) as recorder:
        recorder.capture(0)
        recorder.capture(LAST_STEP)
    assert open_run(tmp_path / "run").steps.tolist() == [0, LAST_STEP]


@given(st.integers(0, LAST_STEP))
def test_a_step_is_the_same_however_it_is_given(step: int) -> None:
    for kind in ("int", "whole float", "numpy int64", "tensor"):
        assert step_of(STEP_KINDS[kind](step)) == step
        assert type(step_of(STEP_KINDS[kind](step))) is int


NUMBERS = [2.0, 2, np.float32(2), np.int64(2), np.array([2.0]), [2.0], (2.0,), torch.tensor(2)]
NUMBERS += [
    torch.ones(1, 1, dtype=torch.bfloat16) * 2,
    torch.tensor(2.0, requires_grad=True),
    [torch.tensor(2)],
]
NO_NUMBERS = ["0.25", b"1", [], [0.1, 0.2], [[]], {}, object(), 1j, 10**400, torch.zeros(2), torch.zeros(0)]
NO_NUMBERS += [torch.zeros(1, device="meta"), torch.tensor(1j), np.zeros(2), ["0.25"], np.array(["a"])]


@pytest.mark.parametrize("name", ["loss", "lr", "norm"])
def test_scalars_of_every_kind_are_recorded(tmp_path: Path, parameter: torch.nn.Parameter, name: str) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, scalars=("norm",)) as recorder:
        for step, value in enumerate(NUMBERS):
            recorder.capture(step, **{name: value})
    array = "learning_rate" if name == "lr" else name
    assert open_run(tmp_path / "run")[array][:].tolist() == [2.0] * len(NUMBERS)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_a_scalar_that_cannot_be_read_costs_no_step_and_is_said_once(
    tmp_path: Path, parameter: torch.nn.Parameter, value: Any
) -> None:
    with Recorder(tmp_path / "run", {"embeddings": parameter}, scalars=("norm",)) as recorder:
        with pytest.warns(RecordingWarning) as warned:
            recorder.capture(0, loss=value, lr=value, norm=value)
        said = [str(warning.message).partition(" is ")[0] for warning in warned]
        assert sorted(said) == ["loss", "lr", "norm"]
        recorder.capture(1, loss=value, lr=value, norm=value)
        recorder.capture(2, loss=0.5, lr=0.5, norm=0.5)
    run = open_run(tmp_path / "run")
    for name in ("loss", "learning_rate", "norm"):
        np.testing.assert_array_equal(run[name][:], [math.nan, math.nan, 0.5])


def test_no_scalar_is_nan_and_nothing_is_said(tmp_path: Path, parameter: torch.nn.Parameter) -> None:
    with (
        warnings.catch_warnings(action="error"),
        Recorder(tmp_path / "run", {"embeddings": parameter}, scalars=("norm",)) as recorder,
    ):
        recorder.capture(0, loss=None, lr=None, norm=None)
    run = open_run(tmp_path / "run")
    for name in ("loss", "learning_rate", "norm"):
        assert math.isnan(run[name][0])


@given(st.floats())
def test_a_number_keeps_its_bits(value: float) -> None:
    for given_as in (value, np.float64(value), torch.tensor(value, dtype=torch.float64), [value]):
        found = number_of(given_as)
        assert found is not None
        assert np.float64(found).tobytes() == np.float64(value).tobytes() or math.isnan(value)
