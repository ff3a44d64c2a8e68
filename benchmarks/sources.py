"""What sources beyond one matrix cost a step: several arrays, chosen rows, hooks, steps that are skipped."""

import mmap
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.optim import SGD, AdamW

import embevo
from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder
from embevo.recording.sources import Source
from embevo.run.disk.reserve import reserve

SHAPE = (128, 64)
VOCABULARY, CHOSEN = 50_000, 500

BLOCK = 200
OPTIONS: Final[dict[str, Any]] = {"store": "zarr", "block_steps": BLOCK}

Step = Callable[[int], None]
# One step, and what waits until everything before is sealed.
Case = tuple[Step, Callable[[], None]]


@contextmanager
def _one(path: Path) -> Iterator[Case]:
    with Recorder(path, {"embeddings": torch.randn(SHAPE)}, **OPTIONS) as recorder:
        yield recorder.capture, recorder.flush


@contextmanager
def _four_tensors(path: Path) -> Iterator[Case]:
    tensors = {name: torch.randn(SHAPE) for name in ("embeddings", "second", "third", "fourth")}
    with Recorder(path, tensors, **OPTIONS) as recorder:
        yield recorder.capture, recorder.flush


@contextmanager
def _four_copies(path: Path) -> Iterator[Case]:
    """The same bytes into as large a ring in a mapped file: the least that a capture costs."""
    sources = [torch.randn(SHAPE).view(-1).view(torch.uint8).numpy().data for _ in range(4)]
    size = sources[0].nbytes
    slots = 2 * BLOCK
    with path.open("w+b") as file:
        reserve(file.fileno(), slots * 4 * size)
        ring = memoryview(mmap.mmap(file.fileno(), slots * 4 * size))
    pieces = [ring[start : start + size] for start in range(0, len(ring), size)]
    targets = [pieces[4 * slot : 4 * slot + 4] for slot in range(slots)]

    def step(number: int) -> None:
        for target, source in zip(targets[number % slots], sources, strict=True):
            target[:] = source

    yield step, lambda: None


@contextmanager
def _four_sources(path: Path) -> Iterator[Case]:
    weight = nn.Parameter(torch.randn(SHAPE))
    optimizer = AdamW([weight])
    weight.grad = torch.randn(SHAPE)
    optimizer.step()
    sources: dict[str, Source] = {
        "embeddings": weight,
        "gradient": embevo.gradient(weight),
        "exp_avg": embevo.optimizer_state(optimizer, weight, "exp_avg"),
        "exp_avg_sq": embevo.optimizer_state(optimizer, weight, "exp_avg_sq"),
    }
    with Recorder(path, sources, **OPTIONS) as recorder:

        def step(number: int) -> None:
            recorder.before_step(number)
            recorder.capture(number)

        yield step, recorder.flush


@contextmanager
def _rows(path: Path) -> Iterator[Case]:
    with Recorder(path, {"embeddings": torch.randn(CHOSEN, SHAPE[1])}, **OPTIONS) as recorder:
        yield recorder.capture, recorder.flush


@contextmanager
def _chosen_rows(path: Path) -> Iterator[Case]:
    ids = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(0))[:CHOSEN].sort().values
    matrix = torch.randn(VOCABULARY, SHAPE[1])
    with Recorder(path, {"embeddings": matrix}, tokens=ids.tolist(), **OPTIONS) as recorder:
        yield recorder.capture, recorder.flush


@contextmanager
def _skipped(path: Path) -> Iterator[Case]:
    with Recorder(path, {"embeddings": torch.randn(SHAPE)}, steps=10**9, **OPTIONS) as recorder:
        recorder.capture(0)
        yield (lambda number: recorder.capture(number + 1)), recorder.flush


def _optimizer() -> tuple[nn.Module, SGD]:
    model = nn.Embedding(*SHAPE)
    model.weight.grad = torch.zeros(SHAPE)
    return model, SGD(model.parameters(), lr=0.1)


@contextmanager
def _optimizer_recorded(path: Path) -> Iterator[Case]:
    model, optimizer = _optimizer()
    with embevo.record(model, optimizer, path, **OPTIONS) as recorder:
        yield (lambda _: optimizer.step()), recorder.flush


@contextmanager
def _optimizer_by_hand(path: Path) -> Iterator[Case]:
    model, optimizer = _optimizer()
    sources = {"embeddings": "weight"}
    with Recorder(path, sources, module=model, **OPTIONS) as recorder:

        def step(number: int) -> None:
            optimizer.step()
            recorder.capture(number, lr=0.1)

        yield step, recorder.flush


CASES = {
    "one tensor": _one,
    "four tensors": _four_tensors,
    "four tensors, copied and nothing else": _four_copies,
    "weight, gradient, two moments": _four_sources,
    f"{CHOSEN} rows": _rows,
    f"{CHOSEN} of {VOCABULARY:,} rows": _chosen_rows,
    "a step that the schedule skips": _skipped,
    "optimizer.step() and a capture": _optimizer_by_hand,
    "optimizer.step() with record": _optimizer_recorded,
}


def measure(directory: Path, *, quick: bool) -> Result:
    """Every case in every round, one after the other."""
    rounds = 2 if quick else 9
    result = Result(
        "Several sources",
        f"Medians of {BLOCK} steps with a ring that was used before and is free, store zarr, {rounds} rounds "
        f"of all cases in turn; arrays of {SHAPE[0]} x {SHAPE[1]} in float32, "
        f"chosen rows of {VOCABULARY:,} x {SHAPE[1]}.",
        ("", "a step", "rounds"),
    )
    samples: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(rounds):
        for name, case in CASES.items():
            with case(directory / f"sources-{number}-{case.__name__}") as (step, flush):
                samples[name].append(_median(step, flush))
    for name, values in samples.items():
        spread = f"{duration(min(values))} to {duration(max(values))}"
        result.rows.append((name, duration(statistics.median(values)), spread))
    one, four, copies, sources, rows, chosen, skipped, by_hand, recorded = samples.values()
    added = tuple(1e6 * (hooked - plain) for hooked, plain in zip(recorded, by_hand, strict=True))
    result.ratios += [
        Ratio("four tensors over one", ratios(four, one), "<= 2.5"),
        Ratio("four tensors, copied and nothing else, over the capture of one", ratios(copies, one)),
        Ratio("weight, gradient and two moments over one tensor", ratios(sources, one)),
        Ratio(f"{CHOSEN} of {VOCABULARY:,} rows over {CHOSEN} rows", ratios(chosen, rows), "<= 2"),
        Ratio("microseconds that the hooks of record add", added, "<= 5"),
        Ratio("microseconds of a skipped step", tuple(1e6 * value for value in skipped), "<= 1"),
    ]
    result.samples |= samples
    return result


def _median(step: Step, flush: Callable[[], None]) -> float:
    """Seconds of one step, while the ring has room."""
    # Two blocks are the ring: from here on its pages are there.
    for number in range(2 * BLOCK):
        step(number)
    flush()
    taken = []
    clock = time.perf_counter
    for number in range(2 * BLOCK, 3 * BLOCK):
        before = clock()
        step(number)
        taken.append(clock() - before)
    return statistics.median(taken)
