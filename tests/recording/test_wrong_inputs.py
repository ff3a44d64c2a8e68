"""Whatever is handed to the public API by mistake, what comes out is an error of embevo's."""

import contextlib
import warnings
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embevo import Recorder, open_run
from embevo.errors import EmbevoError
from embevo.recording.adapters.optimizer_hook import capture_every_step
from embevo.recording.adapters.trainer_callback import RecordEmbeddings
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support.captures import SHAPE

ANYTHING = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        3,
        1.5,
        float("nan"),
        float("inf"),
        2**63,
        10**30,
        "",
        "abc",
        "no\0name",
        "a/b",
        b"bytes",
        [],
        [1],
        ["a", "a"],
        ("loss",),
        (None,),
        {},
        {1: 2},
        {"a": object()},
        {"embeddings": None},
        {"step": torch.zeros(SHAPE)},
        {3: torch.zeros(SHAPE)},
        {"a": torch.zeros(2), "b": torch.zeros(3, 3)},
        {1, 2},
        object(),
        object,
        1j,
        np.float32(2),
        np.zeros(SHAPE),
        np.zeros(3, complex),
        np.array(["a"]),
        torch.zeros(SHAPE),
        torch.zeros(0),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(SHAPE, device="meta"),
        torch.nn.Linear(2, 2),
        lambda: None,
        lambda *_: 3,
        range(6),
        slice(None),
        Path("relative"),
        ValueError("x"),
    ]
)
OPTIONS = [
    "store",
    "when_full",
    "zarr_dtype",
    "scalars",
    "attributes",
    "token_count",
    "overwrite",
    "resume",
    "rewind_to",
    "durability",
    "sync_seconds",
    "sync_steps",
    "block_steps",
    "module",
]
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def only_ours(call: Callable[[], Any], *python: type[Exception]) -> None:
    """Call it: it may succeed, or raise an error of embevo's, or one that Python's protocols name."""
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(EmbevoError, *python):
        call()


@many
@given(option=st.sampled_from(OPTIONS), value=ANYTHING)
def test_options_of_a_recorder(tmp_path_factory: pytest.TempPathFactory, option: str, value: Any) -> None:
    path = tmp_path_factory.mktemp("run")

    def make() -> None:
        # A large block would take a second to make, and is what was asked for.
        few = {"block_steps": 4} | {option: value}
        with Recorder(path / "run", {"embeddings": torch.zeros(SHAPE)}, **few) as recorder:
            recorder.capture(0)

    only_ours(make)


@many
@given(value=ANYTHING)
def test_what_is_recorded(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("run")
    only_ours(lambda: Recorder(path / "a", value, block_steps=4).close())
    only_ours(lambda: Recorder(path / "b", {"embeddings": value}, block_steps=4).close())
    if isinstance(value, Hashable):
        only_ours(lambda: Recorder(path / "c", {value: torch.zeros(SHAPE)}, block_steps=4).close())


@many
@given(value=ANYTHING)
def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (open_run, recover, verify, RecordEmbeddings):
        only_ours(lambda call=call: call(value))
    if not isinstance(value, str | Path):
        only_ours(lambda: Recorder(value, {"embeddings": torch.zeros(SHAPE)}).close())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    with Recorder(path, {"embeddings": torch.zeros(SHAPE)}, block_steps=4) as recorder:
        for step in range(6):
            recorder.capture(step)
    return path


@settings(many, max_examples=20)
@given(pairs=st.lists(st.tuples(ANYTHING, ANYTHING), min_size=5, max_size=5))
def test_captures(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[Any, Any]]) -> None:
    path = tmp_path_factory.mktemp("runs") / "run"
    weight = torch.zeros(SHAPE)
    with Recorder(path, {"embeddings": weight}, block_steps=4) as recorder:
        for step, (name, value) in zip(range(1000, 2000, 10), pairs, strict=False):
            only_ours(partial(recorder.capture, value))
            only_ours(partial(recorder.capture, step + 1, value, value))
            if isinstance(name, str):
                only_ours(partial(recorder.capture, step + 2, **{name: value}))
            only_ours(partial(capture_every_step, value, recorder, step + 3))
            only_ours(lambda value=value: capture_every_step(torch.optim.SGD([weight]), recorder, value))
            only_ours(lambda value=value: capture_every_step(torch.optim.SGD([weight]), value))
        # Whatever that was, it has spoiled nothing.
        recorder.capture(2**53)
        recorder.flush()
    assert open_run(path).steps[-1] == 2**53
    assert verify(path, deep=True).ok


@many
@given(name=ANYTHING, key=ANYTHING)
def test_reading(run: Path, name: Any, key: Any) -> None:
    opened = open_run(run)
    only_ours(lambda: opened[name], KeyError)
    for array in ("embeddings", "loss"):
        only_ours(lambda array=array: opened[array][key], IndexError)
