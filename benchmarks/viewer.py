"""The page in which a run is replayed: how long until its first picture, and how many pictures a second."""

import contextlib
import shutil
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch

from benchmarks.browser import MIB, SIZE, Browsers, browser_peak, browsers, first_picture, peak, served, wait
from benchmarks.result import Ratio, Result, duration
from embevo import Recorder

SMALL: Final = (5001, 128, 64)
# Of a run of this size as many blocks are read for the first picture as of one of 1,000 steps: two.
LARGE: Final = (25, 50_000, 768)
_ROUNDS: Final = {"small": 3, "large": 2}
_PLAYED_MS: Final = 4000
# Keeps when each picture was begun; the page itself keeps how long it took.
_WATCH: Final = """
() => { window.times = []; const look = (now) => { window.times.push(now); requestAnimationFrame(look); };
        requestAnimationFrame(look); embevo.frames.length = 0; }
"""
_FROM_THE_START: Final = """
() => {
  if (embevo.state.playing) return;
  embevo.timeline.go(embevo.timeline.first);
  embevo.state.playing = true;
}
"""


def measure(directory: Path, *, quick: bool) -> Result:
    """A small run and a large one, in Chromium drawn by the processor."""
    large = (10, 5_000, 768) if quick else LARGE
    small = (501, *SMALL[1:]) if quick else SMALL
    result = Result(
        "The page",
        f"`embevo view` in headless Chromium at {SIZE['width']} x {SIZE['height']}, drawn by the processor "
        "(SwiftShader), on the cores that also serve it. First picture: from the request for the page until "
        "the cloud at the last step is drawn; cold is before anything of the run was kept. Playing goes "
        "through every row; the seconds of a picture are those in which the page draws it. Memory is what "
        "the server, and the largest process of the browser, had at most; much of the browser's is its own.",
        ("", "first picture, cold", "again", "a picture, p50", "p99", "a second", "server", "browser"),
    )
    with browsers(result) as found:
        if found is None:
            return result
        for shape, words in ((small, "small"), (large, "large")):
            run = _made(directory / f"viewer-{words}", shape)
            _measure_one(result, found, run, shape, words, 1 if quick else _ROUNDS[words])
    return result


def _made(path: Path, shape: tuple[int, int, int]) -> Path:
    """A bfloat16 cloud that expands and moves."""
    steps, tokens, dim = shape
    torch.manual_seed(0)
    base = torch.randn(tokens, dim) * torch.arange(1, dim + 1) ** -0.5
    matrix = torch.zeros(tokens, dim, dtype=torch.bfloat16)
    with Recorder(path, {"embeddings": matrix}, store="zarr") as recorder:
        for step in range(steps):
            matrix.copy_(base * (step / steps) ** 0.5 + 0.02)
            recorder.capture(step, loss=4 - step / steps)
    return path


def _measure_one(
    result: Result,
    found: Browsers,
    run: Path,
    shape: tuple[int, int, int],
    words: str,
    rounds: int,
) -> None:
    cold, again, between, drawn, rates = [], [], [], [], []
    server_memory, browser_memory = 0, 0
    for _ in range(rounds):
        shutil.rmtree(run / "viewer.cache", ignore_errors=True)
        browser = found.browser()
        with contextlib.closing(browser), served(run) as (url, server):
            page = browser.new_page(viewport=SIZE)
            cold.append(first_picture(page, url))
            page.close()
            page = browser.new_page(viewport=SIZE)
            again.append(first_picture(page, url))
            # What is measured of the run would take the cores from the pictures.
            wait(page, "embevo.runs[0].charts.measured_rows >= 0 && embevo.runs[0].charts.measuring === null")
            page.evaluate("() => { embevo.state.speed = 'rows'; embevo.timeline.go(embevo.timeline.first); }")
            wait(page, "!embevo.dirty && !embevo.waiting")
            # Once through, so that what is played is there: that of large runs is made on demand.
            page.evaluate("() => { embevo.state.playing = true; }")
            if shape[0] < 1000:
                wait(page, "!embevo.state.playing")
                page.evaluate(
                    "() => { embevo.timeline.go(embevo.timeline.first); embevo.state.playing = true; }"
                )
            page.evaluate(_WATCH)
            for _ in range(_PLAYED_MS // 200):
                page.wait_for_timeout(200)
                page.evaluate(_FROM_THE_START)
            drawn += [value / 1000 for value in page.evaluate("embevo.frames")]
            times = page.evaluate("window.times")
            apart = [(b - a) / 1000 for a, b in pairwise(times)]
            between += apart
            rates.append(1 / statistics.median(apart))
            server_memory = max(server_memory, peak(server.pid))
            browser_memory = max(browser_memory, browser_peak())
    name = f"{shape[0]:,} x {shape[1]:,} x {shape[2]}"
    ordered = sorted(drawn)
    result.rows.append((
        name, duration(statistics.median(cold)), duration(statistics.median(again)),
        duration(statistics.median(drawn)), duration(ordered[int(0.99 * len(ordered))]),
        f"{statistics.median(rates):.0f}",
        f"{server_memory / MIB:,.0f} MiB", f"{browser_memory / MIB:,.0f} MiB",
    ))  # fmt: skip
    limit = "1" if words == "small" else "5"
    result.ratios.append(Ratio(f"seconds until the first picture of {name}", tuple(cold), f"<= {limit}"))
    if words == "small":
        result.ratios.append(Ratio(f"pictures a second, {name}", tuple(rates), ">= 30", ">= 60"))
    result.samples[words] = {"cold": cold, "again": again, "between": between, "drawn": drawn}
