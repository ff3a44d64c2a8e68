"""What must be true of a run after its writer was killed, worked out from the seed and the count alone."""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from embevo.errors import EmbevoError, NotARunError
from embevo.run.disk.checksum import checksum
from embevo.run.journal.header import header_is_whole
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import encoded


@dataclass(frozen=True)
class Plan:
    """What a child records: everything about it follows from these numbers.

    Attributes:
        seed: of the values.
        steps: how many, from step 0 on.
        every: distance of the steps.
        flush_at: captured counts after which the child flushes.
        pace: seconds it sleeps after a capture.
        control: a wrong order to use, to prove that the rig notices; empty for the right one.
    """

    seed: int = 0
    shape: tuple[int, int] = (6, 5)
    dtype: str = "float32"
    store: str = "both"
    zarr_dtype: str = "float32"
    block_steps: int = 4
    steps: int = 11
    every: int = 1
    flush_at: tuple[int, ...] = ()
    pace: float = 0.0
    durability: str = "process"
    control: str = ""

    def step(self, index: int) -> int:
        """The step of a row."""
        return index * self.every

    def expected(self, rows: int) -> np.ndarray[Any, Any]:
        """``(row, token, dim)`` of the first rows."""
        return encoded.matrices(encoded.steps_of(rows, self.every), self.shape, self.dtype, self.seed)


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
    expected = plan.expected(rows)
    count = 0
    for row, (step, image) in enumerate(run.images(range(rows))):
        assert step == plan.step(row)
        assert encoded.same_bits(run.frame.matrix(image, "embeddings"), expected[row]), f"row {row} is torn"
        count += 1
    assert count == rows
    assert run["loss"][:].tolist() == [encoded.loss_of(plan.step(row), plan.seed) for row in range(rows)]
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
    losses = np.asarray(group["loss"][:]).tolist()
    assert losses == [encoded.loss_of(step, plan.seed) for step in steps]
    if plan.store != "safetensors":
        expected = plan.expected(len(steps))
        if plan.zarr_dtype == "float32":
            expected = encoded.widened(expected)
        assert encoded.same_bits(np.asarray(group["embeddings"][:]), expected)
    return len(steps)


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
        missing = [step for step in range(0, durable + 1, plan.every) if step not in after]
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
    assert set(steps) <= {plan.step(row) for row in range(plan.steps)}
    found = set()
    for row, step in enumerate(steps):
        try:
            ((_, image),) = run.images([row])
            loss = run["loss"][row]
        except EmbevoError:
            continue
        expected = encoded.matrix(step, plan.shape, plan.dtype, plan.seed)
        assert encoded.same_bits(run.frame.matrix(image, "embeddings"), expected), f"step {step} is wrong"
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
