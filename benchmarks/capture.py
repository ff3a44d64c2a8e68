"""How long the loop waits for one step: the blocking time of a capture."""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.alternatives import Alternative, Nothing, installed
from benchmarks.result import Ratio, Result, duration, percentile, ratios

SHAPE = (128, 64)
SEED = "safetensors save_file"
RAM = "copy into RAM, lost at a crash"
BOTH = "embevo, store both"
WARM, COLD = 32, 192
# Products of matrices of that size between two captures.
_PRODUCTS = {WARM: 40, COLD: 8}
_TURNS = 8


def cpu_seconds() -> float:
    """User and system time of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one_turn(
    alternative: Alternative, weight: torch.Tensor, size: int, first: int, steps: int
) -> tuple[list[float], float]:
    """Captures with products of matrices of a size between them: seconds each, and CPU seconds of all."""
    noise = torch.randn_like(weight) * 1e-3
    left, right = torch.randn(size, size), torch.randn(size, size)
    samples = []
    began = cpu_seconds()
    for step in range(first, first + steps):
        for _ in range(_PRODUCTS[size]):
            left = (left @ right) * 0.05
        weight.add_(noise)
        alternative.stir()
        start = time.perf_counter_ns()
        alternative.capture(step)
        samples.append((time.perf_counter_ns() - start) * 1e-9)
    alternative.settle()
    return samples, cpu_seconds() - began


@dataclass
class Samples:
    """Of one size of the products, by alternative; a list a round.

    Attributes:
        blocking: seconds of each capture.
        cpu: CPU seconds a step on all cores, the products included.
        alone: the same of the products alone.
    """

    blocking: dict[str, list[list[float]]]
    cpu: dict[str, list[float]]
    alone: list[float]


def measure(directory: Path, *, quick: bool, rounds: int = 0, steps: int = 0) -> Result:
    """Rounds of turns: a machine changes its speed within seconds, and must do so to all alike."""
    rounds, steps = rounds or (2 if quick else 4), steps or (40 if quick else 200)
    makers, skipped = installed()
    found = {
        size: Samples({name: [] for name in makers}, {name: [] for name in makers}, []) for size in _PRODUCTS
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        weight = torch.randn(SHAPE).to(torch.bfloat16)
        total = len(_PRODUCTS) * (rounds + 1) * steps
        made = {
            name: make(directory / f"capture-{place}", weight, total)
            for place, (name, make) in enumerate(makers.items())
        }
        begun = 0
        for size, samples in found.items():
            for number in range(rounds + 1):
                _round(samples, made, weight, size, begun, steps, keep=number > 0)
                begun += steps
        for alternative in made.values():
            alternative.close()
    finally:
        torch.set_num_threads(threads)
    return _result(found[WARM], found[COLD], skipped)


def _round(
    samples: Samples,
    made: Mapping[str, Alternative],
    weight: torch.Tensor,
    size: int,
    first: int,
    steps: int,
    *,
    keep: bool,
) -> None:
    blocking: dict[str, list[float]] = {name: [] for name in made}
    cpu = dict.fromkeys(made, 0.0)
    alone = 0.0
    turn = max(1, steps // _TURNS)
    # DCP saves one checkpoint after the other, and slowly: it gets fewer steps, to be done in time.
    shares = {name: max(1, turn // 10) if name == "torch DCP async_save" else turn for name in made}
    turns = steps // turn
    for start in range(first, first + turns * turn, turn):
        alone += one_turn(Nothing(), weight, size, start, turn)[1]
        for name, alternative in made.items():
            taken, used = one_turn(alternative, weight, size, start, shares[name])
            blocking[name] += taken
            cpu[name] += used
            # The writers are done before the next begins.
            time.sleep(0.01)
    if keep:
        samples.alone.append(alone / (turns * turn))
        for name in made:
            samples.blocking[name].append(blocking[name])
            samples.cpu[name].append(cpu[name] / (turns * shares[name]))


def _result(warm: Samples, cold: Samples, skipped: list[str]) -> Result:
    result = Result(
        "Capture",
        "One step of 128 x 64 bfloat16 on the CPU: how long the training loop waits, and what it costs on "
        "all cores together. Between two captures lie 40 products of 32 x 32 matrices, which leave caches "
        "warm, or 8 of 192 x 192, after which code and data come from memory; each writer is at work "
        "meanwhile. save_file takes what the file system takes to create a file, which changes several times "
        "over with what was deleted before; the copy into RAM is the measure that does not depend on it.",
        (
            "",
            "p50",
            "p99",
            "longest",
            "CPU a step",
            "p50, caches cold",
            "p99, caches cold",
            "p50, times embevo's",
        ),
        skipped=skipped,
    )
    middle = {name: [percentile(r, 50) for r in rounds] for name, rounds in warm.blocking.items()}
    for name, rounds in warm.blocking.items():
        every = [sample for samples in rounds for sample in samples]
        late = [sample for samples in cold.blocking[name] for sample in samples]
        extra = percentile([used - alone for used, alone in zip(warm.cpu[name], warm.alone, strict=True)], 50)
        times = percentile(ratios(middle[name], middle[BOTH]), 50)
        result.rows.append(
            (
                name,
                duration(percentile(every, 50)),
                duration(percentile(every, 99)),
                duration(max(every)),
                duration(max(extra, 1e-7)),
                duration(percentile(late, 50)),
                duration(percentile(late, 99)),
                f"{times:.2f}" if times < 10 else f"{times:.0f}",
            )
        )
    rare = [percentile(r, 99) for r in warm.blocking[BOTH]]
    after = {name: [percentile(r, 50) for r in rounds] for name, rounds in cold.blocking.items()}
    rare_after = [percentile(r, 99) for r in cold.blocking[BOTH]]
    result.ratios = [
        Ratio("save_file's p50 over embevo's", ratios(middle[SEED], middle[BOTH]), ">= 20", ">= 40"),
        # What the file system leaves of it: no recorder that copies takes less than the copy.
        Ratio("save_file's p50 over a copy into RAM", ratios(middle[SEED], middle[RAM])),
        Ratio("embevo's p50 over a copy into RAM", ratios(middle[BOTH], middle[RAM]), "<= 2"),
        Ratio("embevo's p99 over save_file's p50", ratios(rare, middle[SEED]), "<= 1"),
        Ratio("caches cold: save_file's p50 over embevo's", ratios(after[SEED], after[BOTH])),
        Ratio("caches cold: embevo's p50 over a copy into RAM", ratios(after[BOTH], after[RAM]), "<= 1.3"),
        Ratio("caches cold: embevo's p99 over save_file's p50", ratios(rare_after, after[SEED]), "<= 1"),
    ]
    result.samples = {
        "blocking": warm.blocking,
        "blocking, caches cold": cold.blocking,
        "cpu_a_step": warm.cpu,
        "cpu_a_step_alone": warm.alone,
    }
    return result
