"""The process that makes files: whichever of it and its parent is killed, nothing is lost or made twice."""

import random

import pytest

from support.faults.oracle import Plan
from support.faults.rig import CREATED, Rig, count, needs_strace, quick_or_full

PLAN = Plan(shape=(32, 16), block_steps=16, steps=150, pace=0.0003)
STORES = ("both", "safetensors")


def plan_of(store: str) -> Plan:
    return Plan(**{**PLAN.__dict__, "store": store})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", STORES)
def test_a_killed_parent_loses_nothing_and_its_process_writes_no_more(rig: Rig, store: str) -> None:
    """The run is checked, recovered and checked again at once, while the process may still be there."""
    rng = random.Random(store)
    requests = []
    for number in range(quick_or_full(6, 150)):
        kill = {"phase": CREATED, "captured": rng.randrange(2, PLAN.steps), "delay": rng.uniform(0, 0.01)}
        options = {"process": True, "kill": kill}
        if number % 3 == 0:
            options["kill_process_at"] = (rng.randrange(2, PLAN.steps),)
        path = rig.path(in_memory=rng.random() < 0.5)
        requests.append(
            (plan_of(store), {"path": path, "options": options, "then": ["check", "record over"]})
        )
    for (_, request), outcome in rig.ask_all(requests):
        assert outcome["found"].startswith("ok: "), f"{request} {outcome['found']}"
        assert not outcome["recorded_over"], f"{request} {outcome['recorded_over']}"
        assert outcome["killed"], request
        count("processes killed that had one beside them make files")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", STORES)
def test_a_killed_process_is_replaced_by_the_thread(rig: Rig, store: str) -> None:
    rng = random.Random(store)
    requests = [
        (
            plan_of(store),
            {
                "options": {"process": True, "kill_process_at": (rng.randrange(1, PLAN.steps),)},
                "then": ["check"],
            },
        )
        for _ in range(quick_or_full(4, 100))
    ]
    for (_, request), outcome in rig.ask_all(requests):
        seen = (outcome["found"], outcome["captured"], outcome["exit"], outcome["phase"], outcome["raised"])
        assert seen == ("ok: exact", PLAN.steps, 0, 4, []), request
        count("processes killed that made files beside a recorder")


@needs_strace
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["openat", "write", "renameat"])
@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=EIO", "error=ENOSPC"])
def test_killed_or_failing_at_its_system_calls(rig: Rig, name: str, fault: str) -> None:
    """Its number among those of its kind that one of its two threads makes."""
    rng = random.Random(name + fault)
    requests = [
        (
            plan_of("both"),
            {
                "options": {
                    "process": True,
                    "trace": {"thread": "process", "inject": f"{name}:{fault}:when={rng.randrange(1, 20)}"},
                },
                "then": ["check"],
            },
        )
        for _ in range(quick_or_full(1, 20))
    ]
    for (_, request), outcome in rig.ask_all(requests):
        assert outcome["traced"]
        assert outcome["calls"]
        seen = (outcome["found"], outcome["captured"], outcome["exit"], outcome["phase"], outcome["raised"])
        assert seen == ("ok: exact", PLAN.steps, 0, 4, []), request
        count("system calls of the process that makes files at which it was killed, or which failed")
