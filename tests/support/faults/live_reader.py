"""A process that reads a run while it is written, in one of four ways, until the run is complete.

Everything it sees must be right; what it raises is the failure of the test. Prints its counts as JSON.
"""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embevo.errors import NotARunError
from embevo.run.reading.reader import Run, open_run
from support import encoded
from support.faults.oracle import Plan

COUNTS: Counter[str] = Counter()
# Reading the same seed in four processes would have them look at the same places.
RNG = random.Random()


class Steps:
    """What one reader has seen: it may grow, never shrink, and is always a prefix of what is recorded."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen = 0
        self.all = np.array(plan.all_steps, np.int64)

    def check(self, steps: np.ndarray[Any, Any]) -> int:
        assert len(steps) >= self.seen, f"{len(steps)} rows after {self.seen}"
        assert np.array_equal(steps, self.all[: len(steps)])
        self.seen = len(steps)
        return len(steps)

    def check_rows(self, read: Callable[[str], Any], rows: range) -> None:
        """What one of the arrays shows of some rows, as the group stores it."""
        array = RNG.choice(self.plan.frame.arrays)
        expected = self.plan.stored(array.expected([self.plan.step(row) for row in rows]))
        values = np.asarray(read(array.name))
        assert encoded.same_bits(values, expected), f"rows {rows} of {array.name} are not what was captured"


def some_rows(rows: int) -> range:
    """A few neighbouring rows, mostly of the last ones."""
    first = RNG.randrange(rows) if RNG.random() < 0.3 else max(0, rows - RNG.randrange(1, 9))
    return range(first, min(rows, first + RNG.randrange(1, 9)))


def read(run: Run, steps: Steps) -> None:
    rows = steps.check(run.steps)
    for _ in range(RNG.randrange(1, 12)):
        if rows:
            wanted = some_rows(rows)
            steps.check_rows(lambda name, wanted=wanted: run[name][wanted.start : wanted.stop], wanted)
            COUNTS["reads of rows of the tail"] += max(0, wanted.stop - max(wanted.start, run.sealed_rows))
            row = wanted[0]
            assert run["loss"][row] == encoded.loss_of(steps.plan.step(row), steps.plan.seed)


def refreshing(path: Path, steps: Steps) -> Callable[[], None]:
    runs: list[Run] = []

    def look() -> None:
        if not runs:
            runs.append(open_run(path))
        COUNTS["refreshes"] += 1
        runs[0].refresh()
        read(runs[0], steps)

    return look


def reopening(path: Path, steps: Steps) -> Callable[[], None]:
    def look() -> None:
        COUNTS["opens by embevo"] += 1
        read(open_run(path), steps)

    return look


def plain_zarr(path: Path, steps: Steps) -> Callable[[], None]:
    import zarr

    def look() -> None:
        COUNTS["opens by zarr"] += 1
        group = zarr.open_group(path / "trajectory.zarr", mode="r")
        lengths = {
            array.shape[0] for _, array in group.arrays() if array.metadata.dimension_names[0] == "step"
        }
        assert len(lengths) == 1, f"arrays of different lengths: {lengths}"
        rows = steps.check(np.asarray(group["step"][:]))
        if rows:
            wanted = some_rows(rows)
            steps.check_rows(lambda name: group[name][wanted.start : wanted.stop], wanted)

    return look


def by_xarray(path: Path, steps: Steps) -> Callable[[], None]:
    import xarray

    def look() -> None:
        COUNTS["opens by xarray"] += 1
        with xarray.open_zarr(path / "trajectory.zarr", chunks=None, mask_and_scale=False) as dataset:
            rows = steps.check(dataset["step"].values)
            assert dataset.sizes["step"] == len(dataset["loss"]) == rows
            if rows:
                wanted = some_rows(rows)
                some = dataset.isel(step=slice(wanted.start, wanted.stop))
                steps.check_rows(lambda name: some[name].values, wanted)

    return look


KINDS = {"refresh": refreshing, "reopen": reopening, "zarr": plain_zarr, "xarray": by_xarray}


def is_run(path: Path) -> bool:
    try:
        open_run(path)
    except NotARunError:
        return False
    return True


def main() -> None:
    path, kind, fields = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    plan = Plan(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    steps = Steps(plan)
    print("started", flush=True)
    # Before there is a run, not being one is the right answer; and after that no more.
    while not is_run(path):
        time.sleep(0.001)
    look = KINDS[kind](path, steps)
    while steps.seen < plan.steps:
        look()
    print(json.dumps(COUNTS))


if __name__ == "__main__":
    main()
