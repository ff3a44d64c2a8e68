"""How much slower a training loop gets by recording every step of it."""

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.result import Ratio, Result, duration, ratios
from embevo import Recorder
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import load_corpus
from embevo.experiment.loop import TrainingLoop

STORES = ("none", "zarr", "both")
# What a step with recording may take, times one without, and what is hoped for. Files, one for each step of a
# millisecond, cost more system calls than its matrix has kilobytes.
BARS = {
    ("embevo train", "zarr"): ("<= 1.01", "<= 1.005"),
    ("embevo train", "both"): ("<= 1.01", "<= 1.005"),
    ("a tiny model", "zarr"): ("<= 1.02", "<= 1.005"),
    ("a tiny model", "both"): ("<= 1.1", "<= 1.02"),
}


class TinyModel(nn.Module):
    """Tied embeddings around one feed-forward layer: a step of well under two milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(position, vocabulary)`` of tokens ``(position,)``."""
        hidden = self.embedding(tokens)
        hidden = hidden + self.down(functional.gelu(self.up(hidden)))
        logits: Tensor = hidden @ self.embedding.weight.T
        return logits


def experiment() -> tuple[Tensor, Callable[[], Tensor]]:
    """The matrix and the step of embevo's own experiment in float32."""
    config = ExperimentConfig.from_mapping({"dtype": "float32", "device": "cpu"})
    loop = TrainingLoop(config, load_corpus(config.corpus, config.vocab_size, config.context))
    return loop.embedding, lambda: loop.advance()[0]


def tiny() -> tuple[Tensor, Callable[[], Tensor]]:
    """The matrix and the step of :class:`TinyModel`."""
    torch.manual_seed(0)
    model = TinyModel()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    data = torch.randint(128, (64, 129))
    steps = 0

    def step() -> Tensor:
        nonlocal steps
        batch = data[steps % len(data)]
        steps += 1
        loss = functional.cross_entropy(model(batch[:-1]), batch[1:])
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return model.embedding.weight, step


class Run:
    """A loop with one kind of recording, continued from round to round."""

    def __init__(
        self, matrix: Tensor, advance: Callable[[], Tensor], path: Path, store: Any, block_steps: int
    ) -> None:
        self._advance = advance
        self._step = 0
        self._captured = 0.0
        self.recorder = None
        before = set(threading.enumerate())
        if store != "none":
            self.recorder = Recorder(path, {"embeddings": matrix}, store=store, block_steps=block_steps)
        writers = set(threading.enumerate()) - before
        self._clocks = [time.pthread_getcpuclockid(writer.ident) for writer in writers if writer.ident]

    def seconds(self, steps: int) -> float:
        """Train, reading every loss, as recording it does."""
        start = time.perf_counter()
        for _ in range(steps):
            loss = self._advance().item()
            if self.recorder is not None:
                before = time.perf_counter()
                self.recorder.capture(self._step, loss=loss)
                self._captured += time.perf_counter() - before
                self._step += 1
        return time.perf_counter() - start

    def spent(self) -> float:
        """Seconds that recording has taken so far: of the loop in captures, and of a core in the writer."""
        return self._captured + sum(time.clock_gettime(clock) for clock in self._clocks)

    def settle(self) -> None:
        """Wait until the writer has nothing left, which the next in turn would have to pay for."""
        while self.recorder is not None and self.recorder.stats.pending:
            time.sleep(0.001)
        time.sleep(0.03)


def compare(
    make: Callable[[], tuple[Tensor, Callable[[], Tensor]]],
    directory: Path,
    *,
    steps: int,
    turns: int,
    rounds: int,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds a step with each kind of recording, and seconds that recording itself takes a step.

    One number a round, a first round thrown away. All record one and the same loop in turn: of two that are
    made alike, one may be a tenth slower than the other for as long as it lives, by where its tensors lie.

    A round is some turns of each kind: a machine changes its speed within seconds, for all alike. Together
    they are as long as a block, which is full in the middle of one of them: so sealing it, and writing all
    but the last few files, is paid for in the turn in which it is measured.
    """
    turn = steps // turns
    samples: dict[str, list[float]] = {store: [] for store in STORES}
    spent: dict[str, list[float]] = {store: [] for store in STORES}
    matrix, advance = make()
    runs = {store: Run(matrix, advance, directory / store, store, steps) for store in STORES}
    for run in runs.values():
        run.seconds(turn // 2)
        run.settle()
    for number in range(rounds + 1):
        taken = dict.fromkeys(STORES, 0.0)
        before = {store: runs[store].spent() for store in STORES}
        for each in range(turns):
            for store in STORES if each % 2 else reversed(STORES):
                taken[store] += runs[store].seconds(turn)
                runs[store].settle()
        if number:
            for store in STORES:
                samples[store].append(taken[store] / (turns * turn))
                spent[store].append((runs[store].spent() - before[store]) / (turns * turn))
    for run in runs.values():
        if run.recorder is not None:
            run.recorder.close()
    return samples, spent


def measure(directory: Path, *, quick: bool) -> Result:
    """Both loops."""
    result = Result(
        "Overhead",
        "Seconds a training step takes without and with recording every step of its 128 x 64 float32 matrix, "
        "all cores in use by PyTorch, the writer beside it. A round lasts a block, so that sealing is in it: "
        "of 300 steps in embevo train, which makes it dearer a step than the usual 1,000, and of 1,000. What "
        "recording takes, of the loop in captures and of one core in the writer, is measured by itself: the "
        "slowdown shows the machine's changes of speed too. The process that makes the files of store both "
        "is not in it: it has what idle cores give.",
        ("", "median step", "slowdown", "fastest round", "slowest round", "recording takes"),
    )
    plans = {
        "embevo train": (experiment, 12 if quick else 300, 6, 2 if quick else 5),
        "a tiny model": (tiny, 200 if quick else 1000, 2, 2 if quick else 7),
    }
    for name, (make, steps, turns, rounds) in plans.items():
        folder = directory / name.replace(" ", "-")
        samples, spent = compare(make, folder, steps=steps, turns=turns, rounds=rounds)
        result.samples[name] = samples
        result.samples[f"{name}, recording takes"] = spent
        for store in STORES:
            times = ratios(samples[store], samples["none"])
            slower = "" if store == "none" else f"{100 * (statistics.median(times) - 1):+.2f} %"
            result.rows.append(
                (
                    f"{name}, {store}",
                    duration(statistics.median(samples[store])),
                    slower,
                    duration(min(samples[store])),
                    duration(max(samples[store])),
                    "" if store == "none" else duration(statistics.median(spent[store])),
                )
            )
            if store != "none":
                share = ratios(spent[store], samples["none"])
                what = f"{name}: what recording takes with store {store}, over a step without"
                result.ratios.append(Ratio(what, share))
                what = f"{name}: a step with store {store} over one without recording"
                result.ratios.append(Ratio(what, times, *BARS[name, store]))
    return result
