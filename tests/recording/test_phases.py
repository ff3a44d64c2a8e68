"""Sources that are taken at a moment of their own, such as gradients: a frame is all of one step."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, FrameMismatchError, RecordingWarning, RingFullError, StaleTensorError
from embevo.recording import recorder as recorder_module
from embevo.recording.carrying import HostTransport, Part, SeveralDevices
from embevo.recording.makers import gradient, optimizer_state, source
from embevo.recording.transport import Transport
from embevo.run.format.schedule import log_spaced
from support.slow_transport import SlowTransport

SHAPE = (6, 4)
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=False, fused=False),
    "foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
}


@pytest.fixture(params=["host", "device", "devices"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How arrays reach the ring: copied by the training thread, or through buffers of one device or two."""

    def make(likes: list[Tensor], scalars: int) -> Transport:
        several = request.param == "devices" and len(likes) > 1
        there = range(1, len(likes), 2) if several else range(0)
        crossing = [place for place in range(len(likes)) if place not in there]
        slow = SlowTransport([likes[place] for place in crossing], scalars, 64)
        slow.gate.set()
        if not several:
            return slow
        host = HostTransport([likes[place] for place in there], scalars, 63)
        device = Part(torch.device("cuda"), slow, tuple(crossing))
        return SeveralDevices([device, Part(torch.device("cpu"), host, tuple(there))])

    if request.param != "host":
        monkeypatch.setattr(recorder_module, "transport_for", make)
    return str(request.param)


def model_and_optimizer(name: str = "adamw") -> tuple[nn.Embedding, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Embedding(*SHAPE)
    return model, OPTIMIZERS[name](model.parameters())


def backward(model: nn.Embedding) -> None:
    model(torch.randint(SHAPE[0], (8,))).square().mean().backward()


def sources(model: nn.Embedding, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "embeddings": model.weight,
        "grad": gradient(model.weight),
        "exp_avg": optimizer_state(optimizer, model.weight, "exp_avg"),
        "exp_avg_sq": optimizer_state(optimizer, model.weight, "exp_avg_sq"),
    }


def state(model: nn.Embedding, optimizer: torch.optim.Optimizer, key: str) -> Tensor:
    return torch.as_tensor(optimizer.state[model.weight][key]).clone()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frame_holds_the_gradient_that_the_optimizer_got_and_what_it_made_of_it(
    tmp_path: Path, transport: str, name: str
) -> None:
    model, optimizer = model_and_optimizer(name)
    wanted: dict[str, list[Tensor]] = {"embeddings": [], "grad": [], "exp_avg": [], "exp_avg_sq": []}
    nothing = torch.full(SHAPE, math.nan)
    with Recorder(tmp_path / "run", sources(model, optimizer), block_steps=4) as recorder:
        recorder.capture(0)
        for key, tensor in (("embeddings", model.weight.detach().clone()), ("grad", nothing)):
            wanted[key].append(tensor)
        wanted["exp_avg"].append(nothing)
        wanted["exp_avg_sq"].append(nothing)
        for step in range(1, 11):
            backward(model)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            recorder.before_step()
            assert model.weight.grad is not None
            wanted["grad"].append(model.weight.grad.clone())
            optimizer.step()
            optimizer.zero_grad()
            recorder.capture(step)
            wanted["embeddings"].append(model.weight.detach().clone())
            for key in ("exp_avg", "exp_avg_sq"):
                wanted[key].append(state(model, optimizer, key))
            with torch.no_grad():
                for kept in optimizer.state[model.weight].values():
                    kept.add_(1.0)
            with torch.no_grad():
                for kept in optimizer.state[model.weight].values():
                    kept.sub_(1.0)
    run = open_run(tmp_path / "run")
    for key, tensors in wanted.items():
        np.testing.assert_array_equal(run[key][:], torch.stack(tensors).numpy(), key)


def test_a_step_that_is_skipped_leaves_nothing_behind(tmp_path: Path, transport: str) -> None:
    """What was taken before a step that the optimizer skips, or that raises, is the gradient of no step."""
    model, optimizer = model_and_optimizer()
    with Recorder(tmp_path / "run", sources(model, optimizer), block_steps=3) as recorder:
        recorder.capture(0)
        kept = []
        for step in range(1, 8):
            for _ in range(2):
                backward(model)
                recorder.before_step()
                assert model.weight.grad is not None
                last = model.weight.grad.clone()
                model.weight.grad.mul_(2)
            kept.append(last)
            optimizer.step()
            optimizer.zero_grad()
            recorder.capture(step)
    np.testing.assert_array_equal(open_run(tmp_path / "run")["grad"][1:], torch.stack(kept).numpy())


def test_what_was_never_taken_is_nan_and_said_once(tmp_path: Path, transport: str) -> None:
    model, _ = model_and_optimizer()
    with Recorder(tmp_path / "run", {"w": model.weight, "grad": gradient(model.weight)}) as recorder:
        recorder.capture(0)
        backward(model)
        with pytest.warns(RecordingWarning, match=r"grad .*before_step\(\)"):
            recorder.capture(1)
        recorder.capture(2)
    assert np.isnan(open_run(tmp_path / "run")["grad"][:]).all()


def test_none_is_nan_and_has_to_be_possible(tmp_path: Path, transport: str) -> None:
    weight = torch.ones(SHAPE)
    given: dict[str, Tensor | None] = {"mean": None, "ids": torch.arange(3)}
    arrays = {
        "w": weight,
        "mean": source(lambda: given["mean"], like=torch.empty(4, dtype=torch.bfloat16)),
        "ids": source(lambda: given["ids"], like=torch.empty(3, dtype=torch.int64)),
    }
    with Recorder(tmp_path / "run", arrays, dimensions={"mean": ["dim"]}) as recorder:
        recorder.capture(0)
        given["mean"] = torch.full((4,), 2.0, dtype=torch.bfloat16)
        recorder.capture(1)
        given["ids"] = None
        with pytest.raises(FrameMismatchError, match="ids gave None, and int64 has no NaN"):
            recorder.capture(2)
        given["ids"] = torch.arange(3) + 1
        recorder.capture(2)
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["mean"][:, 0], [math.nan, 2, 2])
    assert run["ids"][:].tolist() == [[0, 1, 2], [0, 1, 2], [1, 2, 3]]
    assert run.frame.by_name["mean"].dimensions == ("dim",)


@pytest.mark.parametrize("chosen", [[4, 1, 1], np.array([False, True, False, False, True, False]), "dead"])
def test_chosen_tokens_are_gathered_when_they_are_captured(
    tmp_path: Path, transport: str, chosen: Any
) -> None:
    model, optimizer = model_and_optimizer()
    count = np.array([5, 0, 2, 1, 0, 9])
    wanted = []
    options: dict[str, Any] = {"tokens": chosen, "token_count": count, "block_steps": 3}
    with Recorder(tmp_path / "run", sources(model, optimizer), **options) as recorder:
        for step in range(8):
            recorder.capture(step)
            wanted.append(model.weight.detach()[[1, 4]].clone())
            backward(model)
            recorder.before_step()
            optimizer.step()
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["embeddings"][:], torch.stack(wanted).numpy())
    assert run["grad"].shape == (8, 2, 4)
    assert run.frame.token_ids.tolist() == [1, 4]
    assert run.tokens is not None
    assert run.tokens.count.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([6], "token 6 is not in the vocabulary"),
        ([-1], "token -1 is not in the vocabulary"),
        ([], "names no token"),
        ([1.5], "tokens is"),
        ("dead", "needs token_count"),
        ("nowhere.txt", "neither dead, live nor a file"),
        (np.ones(5, bool), "mask of tokens has 5 entries"),
        (7, "tokens is 7"),
        ([[1, 2]], "tokens is"),
    ],
)
def test_tokens_that_cannot_be(tmp_path: Path, tokens: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Recorder(tmp_path / "run", {"w": torch.zeros(SHAPE)}, tokens=tokens)
    assert not (tmp_path / "run").exists()


def test_a_schedule_is_the_runs(tmp_path: Path, transport: str) -> None:
    """Steps that are not on it leave no row, and what was logged for them is not the next one's."""
    model, optimizer = model_and_optimizer()
    arrays, steps = sources(model, optimizer), log_spaced(3)
    with Recorder(tmp_path / "run", arrays, steps=steps, block_steps=3) as recorder:
        for step in range(50):
            # What is logged for 20 must not be left for 22.
            recorder.log(lr=2.0 * step, **({"loss": float(step)} if step != 22 else {}))
            recorder.before_step(step)
            recorder.capture(step)
    with pytest.raises(ArgumentError, match="steps= is not the schedule"):
        Recorder(tmp_path / "run", arrays, steps=4, resume=True)
    with Recorder(tmp_path / "run", arrays, resume=True) as recorder:
        for step in range(50, 120):
            recorder.capture(step, loss=float(step), lr=2.0 * step)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 5, 10, 22, 46, 100]
    np.testing.assert_array_equal(run["loss"][:], [0, 1, 2, 5, 10, math.nan, 46, 100])
    assert run["learning_rate"][:].tolist() == (2 * run.steps).tolist()


def test_logged_scalars_are_those_of_the_coming_step(tmp_path: Path, transport: str) -> None:
    class OnDevice(torch.Tensor):
        device = torch.device("meta")

    norm = torch.tensor(0.5)
    with Recorder(tmp_path / "run", {"w": torch.zeros(SHAPE)}, scalars=("norm",)) as recorder:
        recorder.log(norm=norm, loss=3.0)
        norm.fill_(9)
        recorder.capture(0)
        there = torch.tensor(1.5).as_subclass(OnDevice)
        recorder.log(norm=there)
        there.fill_(9)
        recorder.capture(1, loss=4.0)
        recorder.log(loss=1.0)
        recorder.capture(2, loss=2.0, norm=7)
        with pytest.raises(ArgumentError, match="no scalar other"):
            recorder.log(other=1)
        recorder.capture(3)
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["norm"][:], [0.5, 1.5, 7, math.nan])
    np.testing.assert_array_equal(run["loss"][:], [3, 4, 2, math.nan])


@pytest.mark.parametrize("when_full", ["drop", "error"])
def test_a_frame_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, when_full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room that appears between the two phases of a step does not make half a frame."""
    weight = nn.Parameter(torch.ones(SHAPE))
    made: list[SlowTransport] = []

    def make(likes: list[Tensor], scalars: int) -> SlowTransport:
        made.append(SlowTransport(likes, scalars, 2))
        return made[-1]

    monkeypatch.setattr(recorder_module, "transport_for", make)
    arrays = {"w": weight, "grad": gradient(weight)}
    with Recorder(tmp_path / "run", arrays, when_full=when_full, block_steps=3) as recorder:
        for step in range(2):
            weight.grad = torch.full(SHAPE, float(step))
            recorder.before_step()
            recorder.capture(step)
        weight.grad = torch.full(SHAPE, 2.0)
        if when_full == "error":
            with pytest.raises(RingFullError, match="the coming step was not captured"):
                recorder.before_step()
        else:
            recorder.before_step()
        made[0].gate.set()
        recorder.flush()
        if when_full == "drop":
            recorder.capture(2)
        weight.grad = torch.full(SHAPE, 3.0)
        recorder.before_step()
        recorder.capture(3)
        assert recorder.stats.dropped == (when_full == "drop")
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 3]
    assert run["grad"][:, 0, 0].tolist() == [0, 1, 3]


def test_a_resumed_run_compares_all_sources(tmp_path: Path, transport: str) -> None:
    weight = nn.Parameter(torch.ones(SHAPE))
    arrays = {"w": weight, "grad": gradient(weight)}

    def steps(recorder: Recorder, first: int, last: int) -> None:
        for step in range(first, last):
            weight.grad = torch.full(SHAPE, float(step))
            recorder.before_step()
            recorder.capture(step)

    with Recorder(tmp_path / "run", arrays, block_steps=4) as recorder:
        steps(recorder, 0, 6)
    with Recorder(tmp_path / "run", arrays, resume=True) as recorder:
        steps(recorder, 3, 11)
        assert recorder.stats.compared == 3
    run = open_run(tmp_path / "run")
    assert run["grad"][:, 0, 0].tolist() == list(range(11))


def test_what_was_taken_for_one_step_is_never_another_ones(tmp_path: Path, transport: str) -> None:
    """The row of a step that was compared, or that failed, is used again."""
    weight = nn.Parameter(torch.ones(SHAPE))
    other: dict[str, Tensor] = {"": torch.zeros(3)}
    arrays = {"w": weight, "grad": gradient(weight), "other": source(lambda: other[""], like=torch.zeros(3))}

    def step(recorder: Recorder, number: int, *, before: bool = True) -> None:
        weight.grad = torch.full(SHAPE, float(number))
        if before:
            recorder.before_step()
        recorder.capture(number)

    with Recorder(tmp_path / "run", arrays, block_steps=4) as recorder:
        for number in range(3):
            step(recorder, number)
    with Recorder(tmp_path / "run", arrays, resume=True) as recorder:
        step(recorder, 2)
        step(recorder, 3, before=False)
        other[""] = torch.zeros(4)
        with pytest.raises(FrameMismatchError):
            step(recorder, 4)
        other[""] = torch.zeros(3)
        step(recorder, 5, before=False)
        step(recorder, 6)
    found = open_run(tmp_path / "run")["grad"][:, 0, 0]
    np.testing.assert_array_equal(found, [0, 1, 2, math.nan, math.nan, 6])


def test_sources_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    other = nn.Parameter(torch.zeros(SHAPE))
    with pytest.raises(ArgumentError, match="does not hold the parameter"):
        optimizer_state(optimizer, other, "exp_avg")
    with pytest.raises(ArgumentError, match=r"keeps nothing called 'exp_agv'.*exp_avg, exp_avg_sq"):
        optimizer_state(optimizer, model.weight, "exp_agv")
    with pytest.raises(StaleTensorError, match="was computed from other tensors"):
        gradient(model.weight[:2] * 2)
    with pytest.raises(ArgumentError, match="is no torch tensor"):
        gradient(model)
    with pytest.raises(ArgumentError, match="call is 3"):
        source(3, like=torch.zeros(2))
    assert not optimizer.state


def test_a_parameter_that_is_replaced_is_followed_with_its_gradient(tmp_path: Path) -> None:
    model, _ = model_and_optimizer()
    taken = gradient(model.weight)
    model.load_state_dict({"weight": torch.ones(SHAPE)}, assign=True)
    backward(model)
    found = taken()
    assert found is not None
    assert found is model.weight.grad


def test_before_step_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = nn.Parameter(torch.ones(SHAPE))
    made: list[SlowTransport] = []

    def make(likes: list[Tensor], scalars: int) -> SlowTransport:
        made.append(SlowTransport(likes, scalars, 1))
        return made[-1]

    monkeypatch.setattr(recorder_module, "transport_for", make)
    with Recorder(tmp_path / "run", {"w": weight, "grad": gradient(weight)}) as recorder:
        weight.grad = torch.ones(SHAPE)
        recorder.before_step()
        recorder.capture(0)
        waiting = threading.Thread(target=recorder.before_step)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        made[0].gate.set()
        waiting.join()
        recorder.capture(1)
    assert open_run(tmp_path / "run")["grad"][:, 0, 0].tolist() == [1, 1]
