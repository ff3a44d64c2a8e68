"""The page of 1,000 steps of a large vocabulary: how long until its picture, and the memory it takes."""

import contextlib
import shutil
import statistics
import time
from pathlib import Path
from typing import Final

import torch

from benchmarks.browser import MIB, SIZE, browser_peak, browsers, first_picture, peak, served, wait
from benchmarks.result import Ratio, Result, duration
from embevo import Recorder

SHAPE: Final = (1000, 50_000, 768)
_QUICK: Final = (20, 5_000, 768)
# Of the tokens, one in so many moves at each step: of a run in which all of them do, 1,000 steps take 48 GB.
_PARTS: Final = 10
_LEAST_FREE: Final = 16 << 30
_PLACES: Final = 12
_PLAYED_ROWS: Final = 60
_SHOWN: Final = "embevo.panels[0].shown[0]"


def measure(directory: Path, *, quick: bool) -> Result:
    """Record it, unless it is there, and look at it."""
    shape = _QUICK if quick else SHAPE
    name = f"{shape[0]:,} x {shape[1]:,} x {shape[2]}"
    result = Result(
        "The page of a long run of a large vocabulary",
        f"`embevo view` of {name} in bfloat16, in headless Chromium at {SIZE['width']} x {SIZE['height']}, "
        f"drawn by the processor, on the cores that also serve it. One token in {_PARTS} moves at each "
        "step, so that the run fits on a disk; what the page reads, projects and is sent is as much as if "
        "all did. First picture: from the request for the page until all tokens at the last step are drawn; "
        "cold is before anything of the run was kept. Another step: from asking for one that was never "
        f"shown until it is drawn, at {_PLACES} places over the run. Memory is the most that the server, "
        "and the largest process of the browser, had after that and after "
        f"{_PLAYED_ROWS} rows that were played.",
        ("", "on the disk", "first picture, cold", "again", "another step", "slowest", "server", "browser"),
    )
    with browsers(result) as found:
        if found is None:
            return result
        run = directory / ("viewer-long-quick" if quick else "viewer-long")
        if not (run / "trajectory.zarr").exists():
            if not quick and shutil.disk_usage(directory).free < _LEAST_FREE:
                result.skipped.append(f"all of it: less than {_LEAST_FREE >> 30} GiB are free in {directory}")
                return result
            _record(run, shape)
        shutil.rmtree(run / "viewer.cache", ignore_errors=True)
        stored = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        with contextlib.closing(found.browser()) as browser, served(run) as (url, server):
            page = browser.new_page(viewport=SIZE)
            cold = first_picture(page, url)
            page.close()
            page = browser.new_page(viewport=SIZE)
            again = first_picture(page, url)
            assert page.evaluate("embevo.runs[0].rows") == shape[0]
            assert page.evaluate(f"{_SHOWN}.places.length") == 3 * shape[1]
            seconds = []
            for place in range(_PLACES):
                row = (2 * place + 1) * shape[0] // (2 * _PLACES)
                begun = time.perf_counter()
                page.evaluate(f"embevo.timeline.go(embevo.runs[0].steps[{row}])")
                wait(page, f"!embevo.dirty && !embevo.waiting && {_SHOWN}.row === {row}")
                seconds.append(time.perf_counter() - begun)
            page.evaluate("() => { embevo.state.speed = 'rows'; embevo.timeline.go(embevo.timeline.first); }")
            page.evaluate("() => { embevo.state.playing = true; }")
            wait(page, f"{_SHOWN}.row >= {min(_PLAYED_ROWS, shape[0] - 1)}")
            memory = peak(server.pid), browser_peak()
    result.rows.append((
        name, f"{stored / 1e9:.1f} GB", duration(cold), duration(again),
        duration(statistics.median(seconds)), duration(max(seconds)),
        *(f"{size / MIB:,.0f} MiB" for size in memory),
    ))  # fmt: skip
    result.ratios.append(Ratio(f"seconds until the first picture of {name}", (cold,), "<= 5"))
    result.samples["another step"] = seconds
    return result


def _record(path: Path, shape: tuple[int, int, int]) -> None:
    """A bfloat16 cloud that expands, a part of its tokens at each step."""
    steps, tokens, dim = shape
    torch.manual_seed(0)
    base = torch.randn(tokens, dim) * torch.arange(1, dim + 1) ** -0.5
    matrix = torch.zeros(tokens, dim, dtype=torch.bfloat16)
    with Recorder(path, {"embeddings": matrix}, store="zarr", effort="small") as recorder:
        for step in range(steps):
            part = slice(step % _PARTS, None, _PARTS)
            matrix[part] = (base[part] * ((step + 1) / steps) ** 0.5 + 0.02).to(torch.bfloat16)
            recorder.capture(step, loss=4 - step / steps)
