"""A compaction killed at, and failed in, every system call that changes the disk."""

import errno
import itertools
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embevo.run.repair.compacting import compact
from support.faults import oracle
from support.faults.oracle import Plan
from support.faults.rig import FULL, Rig, calls_of, count, needs_strace, some

pytestmark = [needs_strace, pytest.mark.timeout(3000)]

# Two full blocks and a short one, of chunks that are compressed lightly.
PLAN = Plan(shape=(64, 16), block_steps=4, steps=10)


@pytest.fixture(scope="module", params=["zarr", "both"] if FULL else ["zarr"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return Plan(**{**PLAN.__dict__, "store": request.param})


@pytest.fixture(scope="module")
def closed(rig: Rig, plan: Plan) -> Path:
    path = rig.path()
    assert rig.ask(plan, path=path, remove=False)["phase"] == 4
    return Path(path)


@pytest.fixture(scope="module")
def files(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a compaction that nothing happens to leaves, but for the manifest."""
    path = shutil.copytree(closed, tmp_path_factory.mktemp("whole") / "run")
    compact(path)
    return without_manifest(oracle.tree(path))


def without_manifest(tree: dict[str, str]) -> dict[str, str]:
    """A block that was cut short is entered twice."""
    return {name: digest for name, digest in tree.items() if name != "manifest"}


def request_of(closed: Path, inject: str | None = None, **more: Any) -> dict[str, Any]:
    trace = {"thread": "main", **({"inject": inject} if inject else {})}
    return {"operation": "compact", "template": str(closed), "options": {"trace": trace}, **more}


def points_of(rig: Rig, plan: Plan, closed: Path) -> list[tuple[str, int]]:
    outcome = rig.ask(plan, **request_of(closed))
    assert outcome["traced"]
    assert not outcome["raised"], outcome["raised"]
    found = calls_of(outcome["calls"])
    # An entry, and a new file for the matrices at least, for each of three blocks.
    assert Counter(name for name, _ in found)["rename"] >= 3
    return found


def test_killed_at_every_call_the_run_is_in_order_and_is_finished_by_the_next(
    rig: Rig, plan: Plan, closed: Path, files: dict[str, str]
) -> None:
    points = some(points_of(rig, plan, closed), 12, "compact")
    # By the next compaction, or by recovering the run, by turns.
    by_turns = itertools.cycle((["compact"], ["recover", "rows", "compact"]))
    requests = [
        (
            plan,
            request_of(
                closed,
                f"{name}:signal=SIGKILL:when={number}",
                then=["as it is", *then, "rows", "tree"],
            ),
        )
        for (name, number), then in zip(points, by_turns, strict=False)
    ]
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["killed"], asked
        assert outcome["rows"] == str(plan.steps), f"{asked} {outcome['rows']}"
        assert not outcome["compaction"], f"{asked} {outcome['compaction']}"
        assert not outcome.get("recovery"), f"{asked} {outcome['recovery']}"
        assert without_manifest(outcome["tree"]) == files, asked
        count("kills at system calls of compact")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_call_that_fails_is_reported_and_leaves_a_run_in_order(
    rig: Rig, plan: Plan, closed: Path, files: dict[str, str], error: str
) -> None:
    points = some(points_of(rig, plan, closed), 6, "compact" + error)
    requests = [
        (
            plan,
            request_of(
                closed,
                f"{name}:error={error}:when={number}",
                then=["as it is", "recover", "rows", "compact", "tree"],
            ),
        )
        for name, number in points
    ]
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["injected"], asked
        assert outcome["exit"] == 0, asked
        assert outcome["rows"] == str(plan.steps), f"{asked} {outcome['rows']}"
        assert not outcome["recovery"], f"{asked} {outcome['recovery']}"
        assert not outcome["compaction"], f"{asked} {outcome['compaction']}"
        assert without_manifest(outcome["tree"]) == files, asked
        assert outcome["raised"], f"{asked}: nobody was told"
        for raised in outcome["raised"]:
            assert os.strerror(getattr(errno, error)) in raised["message"], f"{asked} {raised}"
            assert "/run-" in raised["message"], f"{asked} names no path: {raised}"
        count(f"system calls of compact failed with {error}")
