"""Killed at, and failed in, every system call that changes the disk."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from support.faults.oracle import Plan
from support.faults.rig import CREATED, FULL, Rig, calls_of, count, needs_strace, quick_or_full, some

pytestmark = [needs_strace, pytest.mark.timeout(3000)]

# Two full blocks, one of them flushed when it was half full, a short last block, and slots used three times.
PLAN = Plan(block_steps=4, steps=19, flush_at=(6,), every=10)
# Arrays of one to three axes and three dtypes, of some tokens, on a schedule; in the full suite a matrix too.
ARRAYS = 2484
DRAWN = [ARRAYS, -1] if FULL else [ARRAYS]
OPERATIONS: dict[str, dict[str, Any]] = {
    "create": {"trace": {"from": "creation", "thread": "main"}},
    "record": {"trace": {"from": "captures", "thread": "writer"}},
    # The writer seals the rest and lets go of the run; the thread that closes only waits for it.
    "close": {"trace": {"from": "close", "thread": "writer"}},
}


@pytest.fixture(params=DRAWN, ids=lambda drawn: f"arrays{drawn}" if drawn >= 0 else "matrix")
def base(request: pytest.FixtureRequest) -> Plan:
    drawn = request.param
    return replace(PLAN, drawn=drawn, scheduled="list" if drawn >= 0 else "")


def trace(options: dict[str, Any], inject: str | None = None) -> dict[str, Any]:
    traced = {**options["trace"], **({"inject": inject} if inject else {})}
    return {**options, "trace": traced}


def calls(rig: Rig, plan: Plan, options: dict[str, Any], **request: Any) -> list[tuple[str, int]]:
    """The mutating calls of an operation that nothing happens to."""
    for _ in range(3):
        outcome = rig.ask(plan, options=trace(options), **request)
        assert outcome["traced"]
        assert not outcome["raised"], outcome["raised"]
        assert outcome["exit"] == 0
        # On a busy machine a thread that has little to do is done before strace, attached, stops it first.
        if found := calls_of(outcome["calls"]):
            return found
    raise AssertionError("strace saw no call")


def test_what_is_drawn_is_of_many_kinds() -> None:
    frame = replace(PLAN, drawn=ARRAYS).frame
    assert {len(array.shape) for array in frame.arrays} == {1, 2, 3}
    assert {array.dtype for array in frame.arrays} == {"float16", "bfloat16", "bool"}
    assert {array.ids is None for array in frame.arrays} == {True, False}
    assert frame.scalars


def test_the_numbers_of_the_calls_are_those_of_strace(rig: Rig) -> None:
    """A call is named by its name and its number among its like: that is what strace counts by."""
    found = calls(rig, PLAN, OPERATIONS["record"])
    assert Counter(name for name, _ in found)["rename"] >= 20
    name, number = [call for call in found if call[0] == "rename"][7]
    outcome = rig.ask(PLAN, options=trace(OPERATIONS["record"], f"{name}:signal=SIGKILL:when={number}"))
    assert outcome["killed"]
    assert calls_of(outcome["calls"])[-1] == (name, number)


@pytest.mark.parametrize("store", ["both", "zarr", "safetensors"])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_killed_at_every_call(rig: Rig, base: Plan, operation: str, store: str) -> None:
    plan, options = replace(base, store=store), OPERATIONS[operation]
    points = some(calls(rig, plan, options), 6, operation + store)
    requests = [
        (
            plan,
            {
                "options": trace(options, f"{name}:signal=SIGKILL:when={number}"),
                "then": ["check", "record over"],
            },
        )
        for name, number in points
    ]
    for (_, request), outcome in rig.ask_all(requests):
        assert outcome["killed"], request
        assert outcome["found"].startswith("ok: "), f"{request} {outcome['found']}"
        assert not outcome["recorded_over"], f"{request} {outcome['recorded_over']}"
        count(f"kills at system calls of {operation}")


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("state", ["interrupted", "closed"])
def test_recording_over_a_run_killed_at_every_call_leaves_the_old_or_the_new(
    rig: Rig, base: Plan, state: str, durability: str, request: pytest.FixtureRequest
) -> None:
    template = request.getfixturevalue(state)
    plan = replace(base, seed=1, steps=3, flush_at=(), store="zarr", durability=durability)
    options = {"overwrite": True, "trace": {"from": "creation", "thread": "main"}}
    found = calls(rig, plan, options, template=str(template))
    points = some(found, 12, "over" + state + durability)
    requests = [
        (
            plan,
            {
                "template": str(template),
                "before": asdict(base),
                "options": trace(options, f"{name}:signal=SIGKILL:when={number}"),
                "then": ["check replaced", "record over"],
            },
        )
        for name, number in points
    ]
    seen = Counter[str]()
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["killed"], asked
        assert outcome["found"].startswith("ok: "), f"{asked} {outcome['found']}"
        assert not outcome["recorded_over"], f"{asked} {outcome['recorded_over']}"
        count("kills at system calls of recording over a run")
        seen[outcome["found"]] += 1
    assert set(seen) == {"ok: the old run", "ok: the new run"}


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EACCES"])
def test_recording_over_a_run_that_fails_at_any_call_leaves_the_old(
    rig: Rig, base: Plan, error: str, closed: Path
) -> None:
    plan = replace(base, seed=1, steps=0, flush_at=(), durability="power")
    options = {"overwrite": True, "trace": {"from": "creation", "thread": "main"}}
    points = some(calls(rig, plan, options, template=str(closed)), 10, "over" + error)
    requests = [
        (
            plan,
            {
                "template": str(closed),
                "before": asdict(base),
                "options": trace(options, f"{name}:error={error}:when={number}"),
                "then": ["check replaced"],
            },
        )
        for name, number in points
    ]
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["injected"], asked
        assert outcome["found"].startswith("ok: "), f"{asked} {outcome['found']}"
        failed = [raised for raised in outcome["raised"] if raised["during"] == "creation"]
        if failed:
            assert outcome["found"] == "ok: the old run", f"{asked} {failed}"
            assert failed[0]["type"] == "CreationError", f"{asked} {failed}"
            assert "/run-" in failed[0]["message"], f"{asked} names no path: {failed}"
        count(f"system calls failed with {error}")


@pytest.fixture
def interrupted(rig: Rig, base: Plan) -> Path:
    """A run whose process ended without closing it."""
    path = rig.path()
    outcome = rig.ask(base, path=path, options={"die": True}, remove=False)
    assert outcome["captured"] == PLAN.steps
    return Path(path)


@pytest.fixture
def closed(rig: Rig, base: Plan) -> Path:
    path = rig.path()
    assert rig.ask(base, path=path, remove=False)["phase"] == 4
    return Path(path)


def test_a_recovery_killed_at_every_call_and_run_again_gives_equal_bytes(
    rig: Rig, base: Plan, interrupted: Path
) -> None:
    options = {"trace": {"thread": "main"}}
    request = {"operation": "recover", "template": str(interrupted)}
    whole = rig.ask(base, then=["tree"], **request)
    assert not whole["raised"]
    points = some(calls(rig, base, options, **request), 8, "recover")
    requests = [
        (
            base,
            {
                **request,
                "options": trace(options, f"{name}:signal=SIGKILL:when={number}"),
                "then": ["recover", "tree"],
            },
        )
        for name, number in points
    ]
    for (_, request), outcome in rig.ask_all(requests):
        assert outcome["killed"], request
        assert not outcome["recovery"], f"{request} {outcome['recovery']}"
        assert outcome["tree"] == whole["tree"], request
        count("kills at system calls of recover")


@pytest.mark.parametrize("state", ["interrupted", "closed"])
def test_a_resume_killed_at_every_call(
    rig: Rig, base: Plan, state: str, request: pytest.FixtureRequest
) -> None:
    template = request.getfixturevalue(state)
    plan = replace(base, steps=base.steps + 3, flush_at=())
    options = {"resume": True, "first": base.steps, "trace": {"from": "creation", "thread": "main"}}
    points = some(calls(rig, plan, options, template=str(template)), 6, "resume" + state)
    requests = [
        (
            plan,
            {
                "template": str(template),
                "options": trace(options, f"{name}:signal=SIGKILL:when={number}"),
                "then": ["check resumed"],
            },
        )
        for name, number in points
    ]
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["killed"], asked
        assert outcome["found"].startswith("ok: "), f"{asked} {outcome['found']}"
        count("kills at system calls of resume")


def test_a_rewind_killed_at_every_call_can_be_recovered(rig: Rig, base: Plan, closed: Path) -> None:
    options = {"rows": 6, "trace": {"thread": "main"}}
    request = {"operation": "rewind", "template": str(closed)}
    points = some(calls(rig, base, options, **request), 6, "rewind")
    requests = [
        (
            base,
            {
                **request,
                "options": trace(options, f"{name}:signal=SIGKILL:when={number}"),
                "then": ["recover", "rows"],
            },
        )
        for name, number in points
    ]
    for (_, asked), outcome in rig.ask_all(requests):
        assert outcome["killed"], asked
        assert not outcome["recovery"], f"{asked} {outcome['recovery']}"
        assert outcome["rows"] in {"6", str(base.steps)}, f"{asked} {outcome['rows']}"
        count("kills at system calls of rewind")


# Errors


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_an_error_of_any_call_is_reported_and_loses_nothing(
    rig: Rig, base: Plan, operation: str, error: str, durability: str
) -> None:
    plan, options = replace(base, durability=durability), OPERATIONS[operation]
    points = some(calls(rig, plan, options), quick_or_full(4, 0), operation + error + durability)
    requests = [
        (plan, {"options": trace(options, f"{name}:error={error}:when={number}"), "then": ["check"]})
        for name, number in points
    ]
    text = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}[error]
    for (_, request), first in rig.ask_all(requests):
        outcome = until_injected(rig, plan, request, first)
        assert outcome["injected"], request
        assert not outcome["hung"], request
        assert outcome["exit"] == 0, request
        assert outcome["found"].startswith("ok: "), f"{request} {outcome['found']}"
        count(f"system calls failed with {error}")
        for raised in outcome["raised"]:
            assert raised["type"] in {"RecordingError", "CreationError"}, f"{request} {raised}"
            assert text in raised["message"], f"{request} {raised}"
            assert "/run-" in raised["message"], f"{request} names no path: {raised}"
            if outcome["phase"] >= CREATED and raised["during"] != "close":
                assert "writing step " in raised["message"], f"{request} {raised}"
        assert outcome["raised"] or tolerated(operation, request), f"{request}: nobody was told"


def until_injected(rig: Rig, plan: Plan, request: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """What came of a request, asked again where its call was not made.

    How often the journal is synced is up to how quickly the writer comes to it.
    """
    for _ in range(10):
        if outcome["injected"]:
            break
        outcome = rig.ask(plan, **request)
    return outcome


def tolerated(operation: str, request: dict[str, Any]) -> bool:
    """What may fail without anyone being told, because it changes nothing."""
    inject = request["options"]["trace"]["inject"]
    # Directories that a run was made in are empty then, and are removed by the next recorder.
    return operation == "create" and inject.startswith(("fallocate", "rmdir"))
