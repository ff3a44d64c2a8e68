"""Processes that record a run together: one or all killed at, and failed in, the system calls of each."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from support.faults.oracle import Plan
from support.faults.ranks import RanksPlan
from support.faults.rig import FULL, Rig, calls_of, count, needs_strace, quick_or_full, spread

pytestmark = [needs_strace, pytest.mark.timeout(3000)]

# A block that is joined when it is short, full ones, a short last one; pieces of unequal size.
PLAN = RanksPlan()
PLANS = {
    "rows": PLAN,
    "columns": replace(PLAN, world=4, columns=True, fewer=(0, 2, 1, 0), store="both"),
    "copies": replace(PLAN, copies=True, fewer=(1, 0)),
    "power": replace(PLAN, durability="power"),
}
# How many calls are tried in the full form: all of one kind, and some of the others.
MOST = {"rows": 10**6, "columns": 20, "copies": 20, "power": 20}
# Of the first process and of another: making its run, sealing, joining what all have sealed, and ending,
# which joins what is left.
MOMENTS = {
    "creation": (0, {"from": "creation", "thread": "main"}),
    "creation beside": (1, {"from": "creation", "thread": "main"}),
    "sealing": (0, {"from": "captures", "thread": "writer"}),
    "sealing beside": (1, {"from": "captures", "thread": "writer"}),
    "joining": (0, {"from": "captures", "thread": "join"}),
    "ending": (0, {"from": "close", "thread": "writer"}),
    "ending beside": (1, {"from": "close", "thread": "writer"}),
}


def options_of(moment: str, inject: str | None = None, **more: Any) -> dict[str, Any]:
    victim, trace = MOMENTS[moment]
    return {"victim": victim, "trace": {**trace, **({"inject": inject} if inject else {})}, **more}


def calls(rig: Rig, plan: RanksPlan, moment: str, **more: Any) -> list[tuple[str, int]]:
    """The calls of one thread that change the disk, when nothing happens to it."""
    for _ in range(5):
        outcome = rig.ask(Plan(), operation="ranks", ranks=asdict(plan), options=options_of(moment, **more))
        assert not any(outcome["raised"]), outcome["raised"]
        assert not any(outcome["exits"])
        # On a busy machine a thread that has little to do is done before strace, attached, stops it first.
        if outcome["traced"] and (found := calls_of(outcome["calls"])):
            return found
    raise AssertionError("strace saw no call")


def asked(plan: RanksPlan, options: dict[str, Any], **more: Any) -> tuple[Plan, dict[str, Any]]:
    return Plan(), {"operation": "ranks", "ranks": asdict(plan), "options": options, **more}


@pytest.mark.parametrize("kind", list(PLANS) if FULL else ["rows"])
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_killed_at_any_call_every_step_that_all_had_is_there(rig: Rig, moment: str, kind: str) -> None:
    """Which call of the thread that joins has a number depends on how often it looks: some come to none."""
    plan = PLANS[kind]
    points = spread(calls(rig, plan, moment), quick_or_full(1, MOST[kind]), moment + kind)
    requests = [
        asked(
            plan,
            options_of(moment, f"{name}:signal=SIGKILL:when={number}", all=place % 2 == len(moment) % 2),
            then=["check ranks", "resume ranks"],
        )
        for place, (name, number) in enumerate(points)
    ]
    killed = 0
    for (_, request), outcome in rig.ask_all(requests):
        assert not outcome["hung"], request
        assert outcome["found"].startswith("ok: "), f"{request} {outcome['found']}"
        whole = f"{[[]] * plan.world}{[0] * plan.world} ok: {plan.steps} of {plan.steps} rows"
        assert outcome["resumed"] == whole, f"{request} {outcome['resumed']}"
        victim = request["options"]["victim"]
        if outcome["killed"][victim]:
            killed += 1
            all_of_them = request["options"]["all"]
            count(f"kills of {'all processes' if all_of_them else 'one process'} of several at {moment}")
    assert killed >= len(requests) // 4


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("moment", list(MOMENTS) if FULL else ["joining"])
def test_a_call_that_fails_is_reported_and_nothing_is_lost(rig: Rig, moment: str, error: str) -> None:
    points = spread(calls(rig, PLAN, moment), quick_or_full(1, 20), moment + error)
    requests = [
        asked(
            PLAN,
            options_of(moment, f"{name}:error={error}:when={number}"),
            then=["check ranks", "resume ranks"],
        )
        for name, number in points
    ]
    for (_, request), outcome in rig.ask_all(requests):
        assert not outcome["hung"], request
        assert outcome["found"].startswith("ok: "), f"{request} {outcome['found']}"
        assert outcome["resumed"].endswith(f" {PLAN.steps} of {PLAN.steps} rows"), (
            f"{request} {outcome['resumed']}"
        )
        for raised in (each for rank in outcome["raised"] for each in rank):
            known = raised["type"] in ("RecordingError", "CreationError", "EOFError")
            assert known, f"{request} {raised}"
        if outcome["injected"]:
            count(f"system calls of processes that record together failed with {error}")
