"""What must be true of a run after its writer was killed, worked out from the seed and the count alone."""

import contextlib
import hashlib
import itertools
import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from embevo.errors import EmbevoError, NotARunError
from embevo.run.disk.checksum import checksum
from embevo.run.journal.header import header_is_whole
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import encoded
from support.faults.drawn_arrays import DrawnFrame, draw_frame, matrix_frame, scalar_of

# Lists of steps have a multiple of so many, so that a run can be resumed by a plan of a few steps more.
LISTED = 64


@dataclass(frozen=True)
class Plan:
    """What a child records: everything about it follows from these numbers.

    Attributes:
        seed: of the values.
        steps: how many, from step 0 on.
        shape, dtype: of the matrix that is recorded, if no arrays are drawn.
        drawn: number of the arrays that are; -1 for the matrix.
        every: distance of the steps.
        scheduled: how the steps come about, if arrays are drawn: ``""`` where no other is captured; ``every``
            and ``list`` where all of the training are, and the recorder has a schedule.
        flush_at: captured counts after which the child flushes.
        pace: seconds it sleeps after a capture.
        control: a wrong order to use, to prove that the rig notices; empty for the right one.
    """

    seed: int = 0
    shape: tuple[int, ...] = (6, 5)
    dtype: str = "float32"
    store: str = "both"
    zarr_dtype: str = "float32"
    block_steps: int = 4
    steps: int = 11
    drawn: int = -1
    every: int = 1
    scheduled: str = ""
    flush_at: tuple[int, ...] = ()
    pace: float = 0.0
    durability: str = "process"
    control: str = ""

    @property
    def frame(self) -> DrawnFrame:
        """What is recorded."""
        if self.drawn < 0:
            return matrix_frame(self.shape, self.dtype, self.seed)
        return draw_frame(self.drawn, self.seed)

    @property
    def _listed(self) -> list[int]:
        return listed(self.drawn, -(-self.steps // LISTED) * LISTED)

    @property
    def schedule(self) -> int | list[int] | None:
        """What the recorder is given as its schedule."""
        return {"": None, "every": self.every, "list": self._listed}[self.scheduled]

    def step(self, index: int) -> int:
        """The step of a row."""
        return self._listed[index] if self.scheduled == "list" else index * self.every

    @property
    def all_steps(self) -> list[int]:
        """The steps of all rows."""
        return [self.step(row) for row in range(self.steps)]

    def skipped_before(self, index: int) -> range:
        """Steps before that of a row that are captured, and not on the schedule."""
        if not self.scheduled or index == 0:
            return range(0)
        return range(self.step(index - 1) + 1, self.step(index))

    def stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """What plain Zarr shows of values that were recorded."""
        return encoded.widened(values) if self.zarr_dtype == "float32" else values


@cache
def listed(drawn: int, count: int) -> list[int]:
    """Steps from 0 on with gaps between them: the first so many of a plan."""
    rng = random.Random(f"steps {drawn}")
    return list(itertools.accumulate((rng.randrange(1, 4) for _ in range(count - 1)), initial=0))


def check(path: Path, plan: Plan, captured: int, attempted: int, *, created: bool) -> str:
    """Raise AssertionError unless the run holds every captured row, before and after recovery.

    Args:
        path: of the run, as the killed process left it.
        plan: what it was recording.
        captured: captures that had returned.
        attempted: captures that had begun: at most one more.
        created: whether the recorder had been constructed.

    Returns:
        What was found, in a word.
    """
    try:
        rows = check_as_it_is(path, plan, range(captured, attempted + 1))
    except NotARunError:
        assert not created, "the run was there before the kill"
        return "no run yet"
    check_recovery(path, plan, rows)
    return f"{rows - captured} more" if rows > captured else "exact"


def why_not_a_run(path: Path) -> str:
    """What opening says of a directory that is not a run; empty if it is one."""
    try:
        open_run(path)
    except NotARunError as error:
        return str(error)
    return ""


def check_replaced(path: Path, before: Plan, plan: Plan, captured: int) -> str:
    """Recording over a run was cut short: the old one is there whole, or the new one, and opening says which.

    Args:
        path: of the run, as the killed process left it.
        before: what the old run had recorded, all of it.
        plan: what was being recorded over it.
        captured: captures of it that had returned.

    Returns:
        Which of the two is there.
    """
    reason = why_not_a_run(path)
    if reason:
        # Between the two, and only there: the message names what helps, and it does.
        assert f"embevo recover {path}" in reason
        assert captured == 0
        recover(path)
    is_new = bool(reason) or open_run(path).config["seed"] != before.seed
    if is_new:
        check(path, plan, captured, captured + 1, created=True)
        return "the new run"
    assert captured == 0, "the old run is back"
    assert check_as_it_is(path, before, None) == before.steps
    recover(path)
    assert check_recovered(path, before) == before.steps
    names = {entry.name for entry in path.iterdir()}
    assert names <= {"manifest", "trajectory.zarr", "snapshots"}, names
    return "the old run"


def check_as_it_is(path: Path, plan: Plan, allowed: range | None) -> int:
    """Read-only, through the reader and through plain zarr; returns the number of rows."""
    run = open_run(path)
    rows = len(run.steps)
    if allowed is not None:
        assert len(allowed) <= 2
        assert rows in allowed, f"{rows} rows are there, not {allowed}"
    assert run.steps.tolist() == [plan.step(row) for row in range(rows)]
    steps = run.steps.tolist()
    expected = {array.name: array.expected(steps) for array in plan.frame.arrays}
    count = 0
    for row, (step, image) in enumerate(run.images(range(rows))):
        assert step == plan.step(row)
        for name, values in expected.items():
            assert encoded.same_bits(run.frame.matrix(image, name), values[row]), (
                f"row {row} of {name} is torn"
            )
        count += 1
    assert count == rows
    check_scalars(run, plan, steps)
    seen = check_zarr(path, plan)
    assert seen == run.sealed_rows <= rows
    return rows


def check_recovered(path: Path, plan: Plan) -> int:
    """A recovered run holds a prefix and nothing else; returns its number of rows."""
    rows = check_as_it_is(path, plan, None)
    checked = verify(path, deep=True)
    assert checked.ok, checked.problems
    return rows


def check_zarr(path: Path, plan: Plan) -> int:
    """What plain zarr shows is a prefix, bit-exact; returns its length."""
    group = zarr.open_group(path / "trajectory.zarr", mode="r")
    steps = np.asarray(group["step"][:]).tolist()
    assert steps == [plan.step(row) for row in range(len(steps))]
    check_scalars(group, plan, steps)
    if plan.store != "safetensors":
        for array in plan.frame.arrays:
            values = np.asarray(group[array.name][:])
            assert encoded.same_bits(values, plan.stored(array.expected(steps))), array.name
    if plan.frame.token_ids:
        assert np.asarray(group["token"][:]).tolist() == plan.frame.token_ids
    return len(steps)


def check_scalars(run: Any, plan: Plan, steps: list[int]) -> None:
    """Each is there at every step, whichever way the run was opened."""
    wanted = {"loss": [encoded.loss_of(step, plan.seed) for step in steps]}
    wanted |= {name: [scalar_of(name, step, plan.seed) for step in steps] for name in plan.frame.scalars}
    for name, values in wanted.items():
        assert np.array_equal(np.asarray(run[name][:]), np.array(values, np.float64), equal_nan=True), name


def check_recovery(path: Path, plan: Plan, rows: int) -> None:
    """Recovered, the run is as if it had been closed; recovered again, it stays the same."""
    done = recover(path)
    assert not done.lost, done.lost
    assert not done.rebuilt, done.rebuilt
    once = tree(path)
    assert check_zarr(path, plan) == rows
    names = {Path(name).parts[0] for name in once}
    assert names <= {"manifest", "trajectory.zarr", "snapshots"}, names
    assert not [name for name in once if name.endswith(".partial")]
    if plan.store != "zarr":
        snapshots = sorted(name for name in once if name.startswith("snapshots/"))
        assert snapshots == [f"snapshots/step_{plan.step(row):07d}.safetensors" for row in range(rows)]
    checked = verify(path, deep=True)
    assert checked.ok, checked.problems
    recover(path)
    assert tree(path) == once, "recovering twice changes something"


def tree(path: Path) -> dict[str, str]:
    """Every file below a directory, with a hash of its bytes."""
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def check_after_cut(path: Path, plan: Plan, durable: int, *, created: bool) -> str:
    """A power cut: never a wrong number; with ``power``, every step up to ``durable`` is there again.

    Args:
        path: of the run, after the file system has been mounted again.
        plan: what was recorded.
        durable: what the recorder had said would survive; -1 for no step.
        created: whether the recorder had been constructed.

    Returns:
        What was found, in words that begin with ok.
    """
    promised = plan.durability == "power" and created
    as_if_booted_again(path)
    before = readable(path, plan)
    if plan.durability == "power":
        with contextlib.suppress(FileNotFoundError):
            check_zarr(path, plan)
    try:
        done = recover(path)
    except EmbevoError:
        assert not promised, "a run that was created cannot be recovered"
        return "ok: no run"
    after = readable(path, plan)
    assert after is not None, "recovered, and cannot be opened"
    assert before is None or before <= after, "recovering has lost steps"
    if promised:
        missing = [step for step in plan.all_steps if step <= durable and step not in after]
        assert not missing, f"steps {missing} were said to be durable up to {durable}; lost: {done.lost}"
    checked = verify(path, deep=True)
    # Without syncs, files may be there that the manifest has lost: they are named, and not read.
    assert checked.ok or done.lost or plan.durability == "process", checked.problems
    return f"ok: {len(after)} steps" + (", some lost" if done.lost else "")


def readable(path: Path, plan: Plan) -> set[int] | None:
    """The steps that can be read, every one of them right; None if the run cannot be opened."""
    try:
        run = open_run(path)
    except (EmbevoError, FileNotFoundError):
        return None
    steps = run.steps.tolist()
    assert set(steps) <= set(plan.all_steps)
    found = set()
    for row, step in enumerate(steps):
        try:
            ((_, image),) = run.images([row])
            loss = run["loss"][row]
        except EmbevoError:
            continue
        for array in plan.frame.arrays:
            values = run.frame.matrix(image, array.name)
            assert encoded.same_bits(values, array.expected([step])[0]), (
                f"{array.name} of step {step} is wrong"
            )
        assert loss == encoded.loss_of(step, plan.seed), f"the loss of step {step} is wrong"
        found.add(step)
    return found


def as_if_booted_again(path: Path) -> None:
    """Have the journal be of another boot, as it would be after a cut: what is not sealed proves nothing."""
    journal = path / "journal"
    if not journal.is_file():
        return
    data = journal.read_bytes()
    if header_is_whole(data):
        length = int.from_bytes(data[8:16], "little")
        header = json.loads(data[24 : 24 + length])
        header["boot"] = "0" * len(header["boot"])
        text = json.dumps(header).encode()
        assert len(text) == length
        with journal.open("r+b") as file:
            file.seek(16)
            file.write(checksum(text).to_bytes(8, "little") + text)
