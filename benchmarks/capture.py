"""How long the loop waits for one step: the blocking time of a capture."""

import resource
import time
from pathlib import Path

import torch

from benchmarks.alternatives import Alternative, Nothing, installed
from benchmarks.result import Ratio, Result, duration, percentile, ratios

SHAPE = (128, 64)
SEED = "safetensors save_file"
RAM = "copy into RAM, lost at a crash"
BOTH = "embevo, store both"


def cpu_seconds() -> float:
    """User and system time of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one_round(
    alternative: Alternative, weight: torch.Tensor, first: int, steps: int
) -> tuple[list[float], float]:
    """Captures with other work between them: seconds each, and CPU seconds a step."""
    noise = torch.randn_like(weight) * 1e-3
    left, right = torch.randn(192, 192), torch.randn(192, 192)
    samples = []
    began = cpu_seconds()
    for step in range(first, first + steps):
        for _ in range(8):
            left = (left @ right) * 0.05
        weight.add_(noise)
        start = time.perf_counter_ns()
        alternative.capture(step)
        samples.append((time.perf_counter_ns() - start) * 1e-9)
    alternative.settle()
    return samples, (cpu_seconds() - began) / steps


def measure(directory: Path, *, quick: bool, rounds: int = 0, steps: int = 0) -> Result:
    """Interleaved rounds; the writers of all are at work between their captures."""
    rounds, steps = rounds or (3 if quick else 9), steps or (60 if quick else 300)
    makers, skipped = installed()
    blocking: dict[str, list[list[float]]] = {name: [] for name in makers}
    cpu: dict[str, list[float]] = {name: [] for name in makers}
    base: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        weight = torch.randn(SHAPE).to(torch.bfloat16)
        total = (rounds + 1) * steps
        made = {
            name: make(directory / f"capture-{i}", weight, total)
            for i, (name, make) in enumerate(makers.items())
        }
        for number in range(rounds + 1):
            _, alone = one_round(Nothing(), weight, number * steps, steps)
            for name, alternative in made.items():
                # A slow one gets fewer steps, to be done in time.
                share = max(1, steps // 10) if name == "torch DCP async_save" else steps
                samples, used = one_round(alternative, weight, number * steps, share)
                time.sleep(0.05)
                if number:
                    blocking[name].append(samples)
                    cpu[name].append(used)
            if number:
                base.append(alone)
        for alternative in made.values():
            alternative.close()
    finally:
        torch.set_num_threads(threads)
    return _result(blocking, cpu, base, skipped)


def _result(
    blocking: dict[str, list[list[float]]], cpu: dict[str, list[float]], base: list[float], skipped: list[str]
) -> Result:
    result = Result(
        "Capture",
        "One step of 128 x 64 bfloat16 on the CPU: how long the training loop waits, and what it costs on "
        "all cores together. About a millisecond of matrix products lies between two captures, so each "
        "writer is at work meanwhile.",
        ("", "p50", "p99", "max", "CPU a step", "p50, times embevo's"),
        skipped=skipped,
    )
    middle = {name: [percentile(r, 50) for r in rounds] for name, rounds in blocking.items()}
    for name, rounds in blocking.items():
        every = [sample for samples in rounds for sample in samples]
        extra = percentile([used - alone for used, alone in zip(cpu[name], base, strict=True)], 50)
        times = percentile(ratios(middle[name], middle[BOTH]), 50)
        result.rows.append(
            (
                name,
                duration(percentile(every, 50)),
                duration(percentile(every, 99)),
                duration(max(every)),
                duration(max(extra, 1e-7)),
                f"{times:.2f}" if times < 10 else f"{times:.0f}",
            )
        )
    late = [percentile(r, 99) for r in blocking[BOTH]]
    result.ratios = [
        Ratio("save_file's p50 over embevo's", ratios(middle[SEED], middle[BOTH]), ">= 20", ">= 40"),
        Ratio("embevo's p50 over a copy into RAM", ratios(middle[BOTH], middle[RAM]), "<= 2"),
        Ratio("embevo's p99 over save_file's p50", ratios(late, middle[SEED]), "<= 1"),
    ]
    result.samples = {"blocking": blocking, "cpu_a_step": cpu, "cpu_a_step_alone": base}
    return result
