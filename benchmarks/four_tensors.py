"""Four large bfloat16 tensors a step, beside a training that uses all cores: what recording takes from it."""

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder

TOKENS, DIM = 10_000, 64
_STEP_SECONDS = 0.014
_POSITIONS = 64
CONTENDERS = ("no recording", "h5py, blocking", "embevo", "embevo, native")


class Loop:
    """A training of input and output embeddings, with products beside it that take all cores.

    Attributes:
        tensors: what is recorded: both matrices, and the first moments of both.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        weights = [nn.Parameter((0.02 * torch.randn(TOKENS, DIM)).bfloat16()) for _ in range(2)]
        self._embeddings, self._unembeddings = weights
        self._optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)
        often = 1 / torch.arange(1, TOKENS + 1.0)
        self._data = torch.multinomial(often, 64 * (_POSITIONS + 1), replacement=True).view(64, -1)
        self._factor = torch.randn(512, 512)
        self._products = 0
        self._steps = 0
        self.step()
        moments = [self._optimizer.state[weight]["exp_avg"] for weight in weights]
        names = ("embeddings", "unembeddings", "embeddings.exp_avg", "unembeddings.exp_avg")
        self.tensors: dict[str, Tensor] = dict(zip(names, [*weights, *moments], strict=True))
        for _ in range(5):
            self.step()
        # As many products as make a step of the wanted length.
        taken = min(self.seconds() for _ in range(10))
        begun = time.perf_counter()
        for _ in range(20):
            torch.mm(self._factor, self._factor)
        self._products = max(1, round((_STEP_SECONDS - taken) / ((time.perf_counter() - begun) / 20)))

    def step(self) -> None:
        """Train one step."""
        batch = self._data[self._steps % len(self._data)]
        self._steps += 1
        logits = functional.embedding(batch[:-1], self._embeddings) @ self._unembeddings.T
        torch.autograd.backward(functional.cross_entropy(logits.float(), batch[1:]))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        for _ in range(self._products):
            torch.mm(self._factor, self._factor)

    def seconds(self) -> float:
        """Of one step."""
        begun = time.perf_counter()
        self.step()
        return time.perf_counter() - begun


class Blocking:
    """What is done by hand: a dataset an array, chunked by step, written in the loop."""

    def __init__(self, path: Path, tensors: dict[str, Tensor], steps: int) -> None:
        self._file = h5py.File(path, "w")
        self._tensors = tensors
        self._sets = {
            name: self._file.create_dataset(name, (steps, TOKENS, DIM), "u2", chunks=(1, TOKENS, DIM))
            for name in tensors
        }

    def capture(self, step: int) -> None:
        """Write a step."""
        for name, tensor in self._tensors.items():
            self._sets[name][step] = tensor.detach().view(torch.uint16).numpy()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def turn(loop: Loop, contender: str, directory: Path, steps: int) -> dict[str, Any]:
    """Some steps with one contender, on a disk that has nothing else to write.

    Returns:
        Seconds of a step, of all of them and of the second half, when as much waits in memory for the disk as
        may; seconds that closing takes; bytes written a step; memory held.
    """
    directory.mkdir()
    os.sync()
    recorder: Blocking | Recorder | None = None
    if contender == CONTENDERS[1]:
        recorder = Blocking(directory / "run.h5", loop.tensors, steps)
    elif contender != CONTENDERS[0]:
        kind: Any = "native" if contender == CONTENDERS[3] else "float32"
        recorder = Recorder(directory / "run", loop.tensors, store="zarr", zarr_dtype=kind)
    begun = half = time.perf_counter()
    for step in range(steps):
        if step == steps // 2:
            half = time.perf_counter()
        loop.step()
        if recorder is not None:
            recorder.capture(step)
    ended = time.perf_counter()
    seconds, late = (ended - begun) / steps, (ended - half) / (steps - steps // 2)
    memory = resident()
    begun = time.perf_counter()
    if recorder is not None:
        recorder.close()
    closing = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    blocks = dict(recorder.stats.blocks) if isinstance(recorder, Recorder) else {}
    shutil.rmtree(directory)
    return {
        "seconds": seconds,
        "late": late,
        "closing": closing,
        "bytes": size / steps,
        "memory": memory,
        "blocks": blocks,
    }


def resident() -> int:
    """Bytes that the process holds in memory, the ring's pages among them; 0 where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(directory: Path, *, quick: bool) -> Result:
    """Every contender in turn, forwards and backwards."""
    steps, rounds = (20, 2) if quick else (1000, 5)
    raw = 4 * TOKENS * DIM * 2
    written = raw * steps * rounds * (len(CONTENDERS) - 1) / 1e9
    result = Result(
        "Four tensors",
        f"A loop that uses all cores, {1e3 * _STEP_SECONDS:.0f} ms a step, and four bfloat16 tensors of "
        f"{TOKENS:,} x {DIM} at each, {raw / 1e6:.1f} MB: {written:.1f} GB of them in {rounds} rounds of "
        f"{steps} steps. h5py writes them in the loop, as uint16, a chunk a step. Each turn begins with an "
        "idle disk; in its second half, the first has filled what the kernel keeps in memory for later.",
        (
            "",
            "steps a second",
            "slowest",
            "fastest",
            "second half",
            "written a step",
            "at the end",
            "memory",
            "blocks",
        ),
    )
    loop = Loop()
    found: dict[str, list[dict[str, Any]]] = {contender: [] for contender in CONTENDERS}
    for number in range(rounds):
        for contender in CONTENDERS if number % 2 == 0 else reversed(CONTENDERS):
            found[contender].append(turn(loop, contender, directory / f"four-{number}", steps))
    rates = {contender: [1 / one["seconds"] for one in each] for contender, each in found.items()}
    late = {contender: [1 / one["late"] for one in each] for contender, each in found.items()}
    for contender, each in found.items():
        median = {key: statistics.median(one[key] for one in each) for key in ("closing", "bytes", "memory")}
        blocks = {key: sum(one["blocks"][key] for one in each) for key in each[0]["blocks"]}
        result.rows.append(
            (
                contender,
                f"{statistics.median(rates[contender]):.1f}",
                f"{min(rates[contender]):.1f}",
                f"{max(rates[contender]):.1f}",
                f"{statistics.median(late[contender]):.1f}",
                f"{median['bytes'] / 1e6:.2f} MB",
                duration(median["closing"]),
                f"{median['memory'] / 1e6:,.0f} MB",
                ", ".join(f"{count:,} {effort}" for effort, count in blocks.items() if count),
            )
        )
    alone, blocking, *_ = CONTENDERS
    for contender in CONTENDERS[2:]:
        over = ratios(late[contender], late[blocking])
        name = f"{contender}: steps a second over h5py's, in the second half"
        result.ratios.append(Ratio(name, over, ">= 1", ">= 1.2"))
        over = ratios(rates[contender], rates[blocking])
        result.ratios.append(Ratio(f"{contender}: steps a second over h5py's, of all", over))
        over = ratios(rates[contender], rates[alone])
        result.ratios.append(Ratio(f"{contender}: steps a second over those without recording", over))
    result.samples = {contender: rates[contender] for contender in CONTENDERS} | {
        f"{contender}, second half": late[contender] for contender in CONTENDERS
    }
    return result
