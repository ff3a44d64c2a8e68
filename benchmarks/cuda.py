"""What a capture costs a training loop on a CUDA device; skipped where there is none."""

import statistics
import time
from pathlib import Path

import torch

from benchmarks.alternatives import DistributedCheckpoint, Embevo, Nothing
from benchmarks.result import Ratio, Result, duration, ratios

SHAPES = ((128, 64), (151_936, 2560))
EMBEVO, COPY, ASYNC = "embevo, store zarr", ".cpu() in the loop", "torch DCP async_save"


class HostCopy(Nothing):
    """What notebooks do: wait for the device, and for the matrix to cross."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self._matrix = matrix
        self.latest = matrix.cpu()

    def capture(self, step: int) -> None:
        del step
        self.latest = self._matrix.detach().cpu()


def measure(directory: Path, *, quick: bool) -> Result:
    """Both shapes, each kind continued from round to round."""
    result = Result(
        "CUDA",
        "A bfloat16 matrix on the device, changed by kernels that take about 5 ms a step. Blocked: how long "
        "capture keeps the training thread. A step: the mean of a round, the device's work done.",
        ("", "blocked, p50", "blocked, longest", "a step", "over the loop alone"),
    )
    if not torch.cuda.is_available():
        result.skipped.append("there is no CUDA device here")
        return result
    for shape in SHAPES[:1] if quick else SHAPES:
        large = shape[0] > 10_000
        _measure_one(result, directory / f"cuda-{shape[0]}", shape, 6 if large else 100, 2 if quick else 5)
    return result


def _measure_one(result: Result, directory: Path, shape: tuple[int, int], steps: int, rounds: int) -> None:
    matrix = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    total = steps * (rounds + 1)
    kinds = {
        "nothing": Nothing(),
        EMBEVO: Embevo(directory / "embevo", matrix, total, "zarr"),
        COPY: HostCopy(matrix),
        ASYNC: DistributedCheckpoint(directory / "dcp", matrix, total),
    }
    blocked: dict[str, list[float]] = {name: [] for name in kinds}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    left = torch.randn(4096, 4096, device="cuda")
    for number in range(rounds + 1):
        for name, kind in kinds.items():
            samples = []
            torch.cuda.synchronize()
            start = time.perf_counter()
            for step in range(number * steps, (number + 1) * steps):
                for _ in range(4):
                    left = (left @ left) * 1e-4
                matrix.mul_(1.0001)
                before = time.perf_counter()
                kind.capture(step)
                samples.append(time.perf_counter() - before)
            torch.cuda.synchronize()
            seconds = (time.perf_counter() - start) / steps
            kind.settle()
            if number:
                blocked[name] += samples
                taken[name].append(seconds)
    for kind in kinds.values():
        kind.close()
    label = f"{shape[0]:,} x {shape[1]:,}"
    for name in kinds:
        over = ratios(taken[name], taken["nothing"])
        result.rows.append(
            (
                f"{label}, {name}",
                duration(statistics.median(blocked[name])),
                duration(max(blocked[name])),
                duration(statistics.median(taken[name])),
                f"{statistics.median(over):.3f}",
            )
        )
    result.samples[label] = {"blocked": blocked, "step": taken}
    for other in (COPY, ASYNC):
        result.ratios.append(
            Ratio(f"{label}: a step with {other} over one with embevo", ratios(taken[other], taken[EMBEVO]))
        )
