"""Steps that cross from a device: through a transport that lands when the test says, and through CUDA."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from embevo import Recorder, open_run
from embevo.errors import FrameMismatchError, RecordingError, RingFullError
from embevo.recording import carrying
from embevo.recording import recorder as recorder_module
from embevo.recording.carrying import Part, SeveralDevices, transport_for
from embevo.recording.transport import CudaTransport
from support import encoded
from support.slow_transport import SlowTransport

SHAPE = (6, 5)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[SlowTransport]:
    made: list[SlowTransport] = []

    def make(likes: Sequence[Tensor], scalars: int) -> SlowTransport:
        made.append(SlowTransport(likes, scalars))
        return made[-1]

    monkeypatch.setattr(recorder_module, "transport_for", make)
    return made


def capture(recorder: Recorder, weight: Tensor, steps: range) -> None:
    for step in steps:
        weight.copy_(torch.from_numpy(encoded.matrix(step, SHAPE, "float32")))
        recorder.capture(step, loss=encoded.loss_of(step), lr=0.5)
        weight.fill_(float("nan"))


def check(path: Path, steps: int) -> None:
    run = open_run(path)
    assert run.steps.tolist() == list(range(steps))
    assert encoded.same_bits(run["embeddings"][:], encoded.matrices(range(steps), SHAPE, "float32"))
    assert run["loss"][:].tolist() == [encoded.loss_of(step) for step in range(steps)]
    assert run["learning_rate"][:].tolist() == [0.5] * steps


def test_what_was_captured_is_recorded_whenever_it_lands(tmp_path: Path, slow: list[SlowTransport]) -> None:
    weight = torch.zeros(SHAPE)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        capture(recorder, weight, range(3))
        time.sleep(0.02)
        assert open_run(tmp_path / "run").steps.tolist() == []
        slow[0].gate.set()
        capture(recorder, weight, range(3, 30))
        recorder.flush()
        check(tmp_path / "run", 30)
        capture(recorder, weight, range(30, 41))
        assert recorder.stats.captured == 41
    check(tmp_path / "run", 41)


def test_close_waits_for_what_is_still_crossing(tmp_path: Path, slow: list[SlowTransport]) -> None:
    weight = torch.zeros(SHAPE)
    recorder = Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4)
    capture(recorder, weight, range(4))
    closing = threading.Thread(target=recorder.close)
    closing.start()
    time.sleep(0.03)
    assert closing.is_alive()
    slow[0].gate.set()
    closing.join()
    check(tmp_path / "run", 4)


def test_no_buffer_is_used_twice_at_once(tmp_path: Path, slow: list[SlowTransport]) -> None:
    """A fifth step waits until the first of four has landed, and the wait is counted."""
    weight = torch.zeros(SHAPE)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        capture(recorder, weight, range(4))
        assert recorder.stats.waits == 0
        waiting = threading.Thread(target=capture, args=(recorder, weight, range(4, 5)))
        waiting.start()
        time.sleep(0.03)
        assert slow[0].started == 4
        slow[0].gate.set()
        waiting.join()
        assert recorder.stats.waits == 1
        assert recorder.stats.waited_ns > 0
    check(tmp_path / "run", 5)


def test_the_loss_crosses_too(tmp_path: Path, slow: list[SlowTransport]) -> None:
    """A loss on the device is not waited for; one in CPU memory is read."""

    class OnDevice(torch.Tensor):
        device = torch.device("meta")

    weight = torch.zeros(SHAPE)
    with Recorder(tmp_path / "run", {"embeddings": weight}, scalars=("norm",)) as recorder:
        slow[0].gate.set()
        recorder.capture(0, loss=torch.tensor(1.5).as_subclass(OnDevice), norm=2.0)
        recorder.capture(1, loss=torch.tensor(2.5))
        recorder.capture(2, loss=3.5)
        recorder.capture(3)
    run = open_run(tmp_path / "run")
    assert run["loss"][:3].tolist() == [1.5, 2.5, 3.5]
    assert np.isnan(run["loss"][3])
    assert run["norm"][0] == 2.0


def test_a_full_ring_is_still_a_full_ring(
    tmp_path: Path, slow: list[SlowTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowTransport.__init__, "__defaults__", (64,))
    weight = torch.zeros(SHAPE)
    options = {"block_steps": 2, "when_full": "error"}
    with Recorder(tmp_path / "run", {"embeddings": weight}, **options) as recorder:  # type: ignore[arg-type]
        capture(recorder, weight, range(4))
        with pytest.raises(RingFullError, match="step 4 was not captured"):
            recorder.capture(4)
        slow[0].gate.set()
    check(tmp_path / "run", 4)


def test_an_error_of_the_device_reaches_the_training_thread(
    tmp_path: Path, slow: list[SlowTransport]
) -> None:
    weight = torch.zeros(SHAPE)
    recorder = Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4)
    slow[0].gate.set()
    capture(recorder, weight, range(6))
    recorder.flush()
    slow[0].fails = True
    with pytest.raises(RecordingError, match="illegal memory access"):
        capture(recorder, weight, range(6, 100))
    with pytest.raises(RecordingError, match="illegal memory access"):
        recorder.close()
    check(tmp_path / "run", 6)


def test_a_matrix_that_changed_is_refused(tmp_path: Path, slow: list[SlowTransport]) -> None:
    weight = torch.nn.Parameter(torch.zeros(SHAPE))
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        slow[0].gate.set()
        weight.data = torch.zeros(SHAPE, dtype=torch.float64)
        with pytest.raises(FrameMismatchError, match="embeddings is now float64"):
            recorder.capture(0)


def test_a_resumed_run_compares_and_goes_on(tmp_path: Path, slow: list[SlowTransport]) -> None:
    weight = torch.zeros(SHAPE)
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=4) as recorder:
        slow[0].gate.set()
        capture(recorder, weight, range(6))
    with Recorder(tmp_path / "run", {"embeddings": weight}, resume=True) as recorder:
        slow[1].gate.set()
        capture(recorder, weight, range(3, 12))
        assert recorder.stats.compared == 3
    check(tmp_path / "run", 12)


def test_a_step_that_lies_on_several_devices_is_there_when_all_of_it_has_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[SlowTransport] = []

    def make(likes: Sequence[Tensor], scalars: int) -> SeveralDevices:
        parts[:] = [SlowTransport(likes[:1], scalars, 4), SlowTransport(likes[1:], scalars, 3)]
        devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
        places = [(0,), (1, 2)]
        return SeveralDevices([Part(*part) for part in zip(devices, parts, places, strict=True)])

    monkeypatch.setattr(recorder_module, "transport_for", make)
    weights = {name: torch.zeros(SHAPE) for name in ("first", "second", "third")}
    path = tmp_path / "run"
    with Recorder(path, dict(weights), block_steps=4) as recorder:
        for step in range(40):
            for number, weight in enumerate(weights.values()):
                weight.copy_(torch.from_numpy(encoded.matrix(step + 100 * number, SHAPE, "float32")))
            recorder.capture(step, loss=encoded.loss_of(step), lr=0.5)
            if step == 2:
                # There is no buffer for a fourth, and of none of the three both parts are there.
                parts[1].gate.set()
                time.sleep(0.02)
                assert open_run(path).steps.tolist() == []
                assert parts[0].started == parts[1].started == 3
                parts[0].gate.set()
    run = open_run(path)
    assert run.steps.tolist() == list(range(40))
    for number, name in enumerate(weights):
        wanted = encoded.matrices(range(100 * number, 100 * number + 40), SHAPE, "float32")
        assert encoded.same_bits(run[name][:], wanted)
    assert run["loss"][:].tolist() == [encoded.loss_of(step) for step in range(40)]


def test_scalars_cross_from_the_device_that_they_lie_on() -> None:
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    slow = [SlowTransport([torch.zeros(SHAPE)], 3), SlowTransport([torch.zeros(SHAPE)], 3)]
    parts = [
        Part(device, part, (place,)) for place, (device, part) in enumerate(zip(devices, slow, strict=True))
    ]
    several = SeveralDevices(parts)

    class First(torch.Tensor):
        device = devices[0]

    class Second(torch.Tensor):
        device = devices[1]

    scalars = {0: torch.tensor(1.5).as_subclass(First), 2: torch.tensor(2.5).as_subclass(Second)}
    several.start(1, scalars)
    for part in slow:
        part.gate.set()
    assert np.isnan(slow[0].scalars(1)[2])
    assert np.isnan(slow[1].scalars(1)[0])
    assert several.scalars(1)[[0, 2]].tolist() == [1.5, 2.5]


def test_each_device_has_a_transport_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class First(torch.Tensor):
        device = torch.device("cuda", 0)

    class Second(torch.Tensor):
        device = torch.device("cuda", 1)

    class OnMps(torch.Tensor):
        device = torch.device("mps")

    made: list[SlowTransport] = []

    def make(likes: Sequence[Tensor], scalars: int) -> SlowTransport:
        made.append(SlowTransport(likes, scalars, 8))
        return made[-1]

    monkeypatch.setattr(carrying, "CudaTransport", make)
    here = torch.zeros(SHAPE)
    first, second, mps = (here.as_subclass(kind) for kind in (First, Second, OnMps))
    assert transport_for([here, here], 2) is None
    assert isinstance(transport_for([first, first], 2), SlowTransport)
    several = transport_for([here, second, first, second], 2)
    assert isinstance(several, SeveralDevices)
    assert several.buffers == 8
    for place in range(4):
        several.put(0, place, torch.full(SHAPE, float(place)))
    several.start(0, {})
    assert not several.has_landed(0)
    for slow in made:
        slow.gate.set()
    assert several.has_landed(0)
    found = [float(matrix.view(np.float32)[0]) for matrix in several.matrices(0)]
    assert found == [0.0, 1.0, 2.0, 3.0]
    # What blocks anyway is copied by the training thread, all of it.
    assert transport_for([first, mps], 2) is None


def test_the_statistics_say_which_arrays_a_capture_waits_for(tmp_path: Path) -> None:
    class OnMps(torch.Tensor):
        device = torch.device("mps")

    matrices = {"embeddings": torch.ones(SHAPE).as_subclass(OnMps), "other": torch.ones(SHAPE)}
    with Recorder(tmp_path / "run", matrices) as recorder:
        recorder.capture(0)
    assert recorder.stats.waited_for == ("embeddings",)
    assert (open_run(tmp_path / "run")["embeddings"][0] == 1).all()


def test_matrices_in_cpu_memory_are_copied_by_the_training_thread(tmp_path: Path) -> None:
    assert transport_for([torch.zeros(2, 2)], 2) is None
    with Recorder(tmp_path / "run", {"embeddings": torch.ones(SHAPE)}) as recorder:
        assert recorder.stats.waited_for == ()


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(128, 64), (3000, 1024)])
def test_cuda_captures_what_was_there_although_the_stream_goes_on(
    tmp_path: Path, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """The matrix is overwritten by kernels that are queued right behind each capture."""
    weight = torch.zeros(shape, dtype=dtype, device="cuda")
    with Recorder(tmp_path / "run", {"embeddings": weight}, block_steps=5) as recorder:
        for step in range(40):
            weight.fill_(step)
            recorder.capture(step, loss=weight[0, 0].float())
            weight.fill_(-1)
    run = open_run(tmp_path / "run")
    assert (run["embeddings"][:] == np.arange(40)[:, None, None]).all()
    assert run["loss"][:].tolist() == list(range(40))


@pytest.mark.cuda
@needs_cuda
def test_cuda_capture_does_not_wait_for_the_training_stream(tmp_path: Path) -> None:
    """While the device is busy for a second, captures return and nothing has landed."""
    weight = torch.zeros(128, 64, device="cuda")
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        recorder.capture(0)
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000_000)
        busy = torch.cuda.Event()
        busy.record()
        for step in range(1, 9):
            recorder.capture(step)
        assert not busy.query()
    assert open_run(tmp_path / "run").steps.tolist() == list(range(9))


@pytest.mark.cuda
@needs_cuda
def test_cuda_beside_arrays_in_cpu_memory(tmp_path: Path) -> None:
    """One frame, and neither part waits for the device."""
    weight, beside = torch.zeros(128, 64, device="cuda"), torch.zeros(3, 4)
    with Recorder(tmp_path / "run", {"embeddings": weight, "beside": beside}, block_steps=5) as recorder:
        for step in range(40):
            weight.fill_(step)
            beside.fill_(step)
            recorder.capture(step, loss=weight[0, 0].float(), lr=float(step))
            weight.fill_(-1)
            beside.fill_(-1)
    assert recorder.stats.waited_for == ()
    run = open_run(tmp_path / "run")
    for name in ("embeddings", "beside"):
        assert (run[name][:] == np.arange(40)[:, None, None]).all()
    assert run["loss"][:].tolist() == run["learning_rate"][:].tolist() == list(range(40))


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices")
def test_two_cuda_devices(tmp_path: Path) -> None:
    weights = {f"on_{index}": torch.zeros(128, 64, device=f"cuda:{index}") for index in range(2)}
    with Recorder(tmp_path / "run", dict(weights), block_steps=5) as recorder:
        for step in range(40):
            for weight in weights.values():
                weight.fill_(step)
            recorder.capture(step, loss=weights["on_1"][0, 0].float())
            for weight in weights.values():
                weight.fill_(-1)
    run = open_run(tmp_path / "run")
    for name in weights:
        assert (run[name][:] == np.arange(40)[:, None, None]).all()
    assert run["loss"][:].tolist() == list(range(40))


@pytest.mark.cuda
@needs_cuda
def test_cuda_buffers_are_bounded() -> None:
    assert CudaTransport([torch.zeros(128, 64, device="cuda")], 2).buffers == 64
    assert CudaTransport([torch.zeros(8192, 4096, device="cuda")], 2).buffers == 2
